//! Pages of lists: sizes, and tokens that are opaque to clients and refused when they do not belong
//! to the list, its filters and this life of the cluster's data.

use std::str::FromStr;

use quorate_planted::Bug;
use quorate_proto::status::ApiError;
use quorate_state::State;

use super::violation;

/// Rows of a page when the client does not say.
const PAGE_SIZE_DEFAULT: u32 = 100;
/// Rows of a page at most.
const PAGE_SIZE_MAX: u32 = 1_000;
/// Bytes of what is large in the rows of a page: the one that brings them here is its last.
const PAGE_BYTES_MAX: usize = 1 << 20;
/// Rows looked at for one page; a page may be short, or empty, because its filters fit few.
pub(crate) const ROWS_LOOKED_AT_MAX: usize = 20_000;
/// Version of the token's form.
const TOKEN_VERSION: &str = "1";
/// Between the parts of a token; no name contains it.
const SEPARATOR: char = '\u{1f}';

/// One page of a list.
#[derive(Debug)]
pub(crate) struct Pages {
    size: usize,
    stamp: String,
    /// The last row of the page before; none for the first page.
    pub(crate) after: Option<Cursor>,
}

/// Names a row of a list, in the parts by which the list is ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cursor(Vec<String>);

impl<const N: usize> From<[String; N]> for Cursor {
    fn from(parts: [String; N]) -> Self {
        Self(parts.into())
    }
}

impl Cursor {
    /// One part of it.
    pub(crate) fn part<T: FromStr>(&self, at: usize) -> Result<T, ApiError> {
        self.0.get(at).and_then(|part| part.parse().ok()).ok_or_else(foreign)
    }
}

impl Pages {
    /// Checks size and token. `filters` are what else the request said: a token goes with them.
    pub(crate) fn open(view: &State, list: &str, filters: &[&str], size: u32, token: &str) -> Result<Self, ApiError> {
        if size > PAGE_SIZE_MAX {
            return Err(violation("page_size", format!("is {size}, PAGE_SIZE_MAX is {PAGE_SIZE_MAX}")));
        }
        let size = if size == 0 { PAGE_SIZE_DEFAULT } else { size };
        let mut digest = blake3::Hasher::new();
        for filter in filters {
            digest.update(filter.as_bytes()).update(&[0]);
        }
        let filters = digest.finalize().to_hex();
        let life = view.meta().incarnation.to_string();
        let stamp = [TOKEN_VERSION, &life, list, &filters.as_str()[..16]].join(&SEPARATOR.to_string());
        let after = if token.is_empty() { None } else { Some(decode(&stamp, &life, token)?) };
        Ok(Self { size: size as usize, stamp, after })
    }

    /// The page out of the rows after the cursor, and the token of the next one (empty: no more).
    pub(crate) fn take<T>(&self, rows: impl Iterator<Item = T>, cursor: impl Fn(&T) -> Cursor) -> (Vec<T>, String) {
        self.take_weighed(rows, cursor, |_| 0)
    }

    /// Like [`Self::take`] for rows of which some are large: with so many bytes of them a page ends sooner.
    pub(crate) fn take_weighed<T>(
        &self,
        rows: impl Iterator<Item = T>,
        cursor: impl Fn(&T) -> Cursor,
        bytes: impl Fn(&T) -> usize,
    ) -> (Vec<T>, String) {
        let mut rows = rows;
        let mut page: Vec<T> = Vec::new();
        let mut weight = 0;
        while page.len() < self.size && weight < PAGE_BYTES_MAX {
            let Some(row) = rows.next() else { break };
            weight += bytes(&row);
            page.push(row);
        }
        let next = match (page.last(), rows.next()) {
            (Some(_), Some(next)) if quorate_planted::is(Bug::PageSkipsRow) => self.token(&cursor(&next)),
            (Some(last), Some(_)) => self.token(&cursor(last)),
            (Some(_) | None, _) => String::new(),
        };
        (page, next)
    }

    /// Like [`Self::take`] for rows that are filtered one by one, with a bound on how many are looked at.
    pub(crate) fn take_matching<T>(
        &self,
        rows: impl Iterator<Item = T>,
        cursor: impl Fn(&T) -> Cursor,
        matches: impl Fn(&T) -> bool,
    ) -> (Vec<T>, String) {
        let mut page = Vec::new();
        let mut last = None;
        for (looked_at, row) in rows.enumerate() {
            if page.len() == self.size || looked_at == ROWS_LOOKED_AT_MAX {
                return (page, last.map(|last| self.token(&last)).unwrap_or_default());
            }
            last = Some(cursor(&row));
            if matches(&row) {
                page.push(row);
            }
        }
        (page, String::new())
    }

    /// The same for one list of several: no more rows than a page has, and the place behind which there may be more.
    pub(crate) fn looked_at<T, P: Copy>(
        &self,
        rows: impl Iterator<Item = T>,
        place: impl Fn(&T) -> P,
        matches: impl Fn(&T) -> bool,
    ) -> (Vec<T>, Option<P>) {
        let mut page = Vec::new();
        let mut last = None;
        for (looked_at, row) in rows.enumerate() {
            if page.len() == self.size || looked_at == ROWS_LOOKED_AT_MAX {
                return (page, last);
            }
            last = Some(place(&row));
            if matches(&row) {
                page.push(row);
            }
        }
        (page, None)
    }

    /// How many rows are asked for at most.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// The token of the page that begins behind a row.
    pub(crate) fn token(&self, cursor: &Cursor) -> String {
        let mut text = self.stamp.clone();
        for part in &cursor.0 {
            text.push(SEPARATOR);
            text.push_str(part);
        }
        text.bytes().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn decode(stamp: &str, life: &str, token: &str) -> Result<Cursor, ApiError> {
    let bytes = token.as_bytes().chunks(2).map(|pair| {
        let digits = std::str::from_utf8(pair).ok().filter(|digits| digits.len() == 2)?;
        u8::from_str_radix(digits, 16).ok()
    });
    let text =
        bytes.collect::<Option<Vec<u8>>>().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(foreign)?;
    if let Some(cursor) = text.strip_prefix(stamp).and_then(|rest| rest.strip_prefix(SEPARATOR)) {
        return Ok(Cursor(cursor.split(SEPARATOR).map(str::to_owned).collect()));
    }
    match text.split(SEPARATOR).nth(1) {
        Some(other) if other != life => {
            Err(ApiError::Stale("the cluster's data was restored since that page: list from the start".into()))
        }
        Some(_) | None => Err(foreign()),
    }
}

fn foreign() -> ApiError {
    violation("page_token", "does not belong to this list with these filters: list from the start")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(filters: &[&str], size: u32, token: &str) -> Result<Pages, ApiError> {
        Pages::open(&State::default(), "numbers", filters, size, token)
    }

    fn page(size: u32, token: &str) -> (Vec<u32>, String) {
        let pages = pages(&["a"], size, token).unwrap();
        let after = pages.after.as_ref().map(|cursor| cursor.part(0).unwrap());
        pages.take((1..=5).filter(|n| after.is_none_or(|after: u32| *n > after)), |n| Cursor::from([n.to_string()]))
    }

    #[test]
    fn pages_follow_each_other_to_the_end() {
        let (first, token) = page(2, "");
        let (second, token) = page(2, &token);
        let (third, token) = page(2, &token);
        assert_eq!((first, second, third), (vec![1, 2], vec![3, 4], vec![5]));
        assert_eq!(token, "");
    }

    #[test]
    fn a_full_last_page_has_no_token() {
        assert_eq!(page(5, "").1, "");
    }

    #[test]
    fn a_token_belongs_to_its_filters() {
        let (_, token) = page(2, "");
        assert!(pages(&["b"], 2, &token).is_err());
        assert!(pages(&["a"], 2, "zz").is_err());
        assert!(pages(&["a"], 2, &token[1..]).is_err());
    }

    #[test]
    fn the_size_limit_is_named() {
        let error = pages(&[], PAGE_SIZE_MAX + 1, "").unwrap_err();
        assert!(error.to_string().contains("PAGE_SIZE_MAX"), "{error}");
    }

    #[test]
    fn a_page_of_filtered_rows_looks_at_a_bounded_number() {
        let pages = pages(&[], 10, "").unwrap();
        let (page, token) = pages.take_matching(0_usize.., |n| Cursor::from([n.to_string()]), |_| false);
        assert!(page.is_empty());
        let next = self::pages(&[], 10, &token).unwrap();
        assert_eq!(next.after.unwrap().part::<usize>(0).unwrap(), ROWS_LOOKED_AT_MAX - 1);
    }
}
