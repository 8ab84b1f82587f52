//! Rust text without what is not code: comments and the inside of literals become blanks, so that
//! a rule about a word does not fire on a sentence that mentions it.

/// `text` with comments and literals blanked; lines and columns stay where they were.
pub(crate) fn only(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = match (chars[at], chars.get(at + 1)) {
            ('/', Some('/')) => line_comment(&chars, at),
            ('/', Some('*')) => block_comment(&chars, at),
            ('"', _) => string(&chars, at),
            ('r', Some('"' | '#')) if !continues_a_name(&chars, at) => raw_string(&chars, at),
            ('\'', _) => character(&chars, at),
            _ => at,
        };
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// The lines of `code` that are part of the product: a `#[cfg(test)] mod name {` and all after it is
/// not, for the house puts unit tests last in their file.
pub(crate) fn product(code: &str) -> &str {
    let mut from = 0;
    while let Some(found) = code[from..].find("#[cfg(test)]") {
        let start = from + found;
        let after = code[start + "#[cfg(test)]".len()..].trim_start();
        if after.starts_with("mod ") && after.lines().next().is_some_and(|line| line.trim_end().ends_with('{')) {
            return &code[..start];
        }
        from = start + 1;
    }
    code
}

/// The lines, counted from 1, on which `pattern` stands as a whole: where it begins or ends with a
/// letter of a name, no further such letter may follow on that side.
pub(crate) fn lines_with(code: &str, pattern: &str) -> Vec<usize> {
    let found = |line: &str| line.match_indices(pattern).any(|(at, _)| stands_alone(line, at, pattern));
    code.lines().enumerate().filter(|(_, line)| found(line)).map(|(index, _)| index + 1).collect()
}

fn stands_alone(line: &str, at: usize, pattern: &str) -> bool {
    let joins = |a: Option<char>, b: Option<char>| a.is_some_and(is_name) && b.is_some_and(is_name);
    let (before, after) = (line[..at].chars().next_back(), line[at + pattern.len()..].chars().next());
    !joins(before, pattern.chars().next()) && !joins(pattern.chars().next_back(), after)
}

/// A letter of an identifier.
pub(crate) fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn continues_a_name(chars: &[char], at: usize) -> bool {
    // `br"..."` is a raw string too: its `b` is no reason to read the quote as a plain one.
    let name = chars[..at].iter().rev().take_while(|c| is_name(**c)).count();
    name > 1 || (name == 1 && chars[at - 1] != 'b')
}

fn line_comment(chars: &[char], at: usize) -> usize {
    chars[at..].iter().position(|c| *c == '\n').map_or(chars.len(), |length| at + length)
}

fn block_comment(chars: &[char], at: usize) -> usize {
    let (mut depth, mut end) = (0_u32, at);
    while end < chars.len() {
        match (chars[end], chars.get(end + 1)) {
            ('/', Some('*')) => (depth, end) = (depth + 1, end + 2),
            ('*', Some('/')) if depth == 1 => return end + 2,
            ('*', Some('/')) => (depth, end) = (depth - 1, end + 2),
            _ => end += 1,
        }
    }
    end
}

fn string(chars: &[char], at: usize) -> usize {
    let mut end = at + 1;
    while end < chars.len() {
        match chars[end] {
            '\\' => end += 2,
            '"' => return end + 1,
            _ => end += 1,
        }
    }
    chars.len()
}

fn raw_string(chars: &[char], at: usize) -> usize {
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    let open = at + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return at;
    }
    let closes =
        |end: usize| chars[end] == '"' && chars[end + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes;
    (open + 1..chars.len()).find(|end| closes(*end)).map_or(chars.len(), |end| end + 1 + hashes)
}

/// A character literal; a lifetime is code and stays.
fn character(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), Some(_)) => {
            (at + 3..chars.len()).find(|end| chars[*end] == '\'').map_or(chars.len(), |end| end + 1)
        }
        (Some(_), Some('\'')) => at + 3,
        _ => at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_lines_stay() {
        let text = "a // one\n\"two\\\" // x\" b /* three /* nested */ \n */ c r#\"four \" five\"# 'd' &'life e '\\'' f b\"g\"\n";
        let code = only(text);
        assert_eq!(code.lines().count(), text.lines().count());
        assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["a", "b", "c", "&'life", "e", "f", "b"]);
    }

    #[test]
    fn a_name_that_ends_in_r_does_not_open_a_raw_string() {
        assert_eq!(only("matcher\"x\" y").trim_end(), "matcher    y");
    }

    #[test]
    fn unit_tests_at_the_end_are_not_the_product() {
        let code = "fn a() {}\n#[cfg(test)]\nfn only_in_tests() {}\nfn b() {}\n#[cfg(test)]\nmod tests {\n}\n";
        assert!(product(code).contains("fn b"));
        assert!(!product(code).contains("mod tests"));
        let outside = "#[cfg(test)]\nmod tests;\nfn c() {}\n";
        assert_eq!(product(outside), outside);
    }

    #[test]
    fn a_pattern_is_found_only_as_a_whole() {
        let code = "use rand::x;\nuse operand::x;\nrandom()\nlet brand = rand::rng();\n";
        assert_eq!(lines_with(code, "rand::"), [1, 4]);
        assert_eq!(lines_with("unsafe { }\nunsafe_code", "unsafe"), [1]);
    }
}
