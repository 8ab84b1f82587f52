//! Licences and origins of foreign packages, against the list in `deny.toml`.

use super::Violation;
use super::floors::Package;

/// Packages that lie in this clone with a small change of ours, each with its reason.
const VENDORED: &[(&str, &str)] = &[("turmoil", "ADR 0025: pauses and drifting clocks")];

/// The licences that `deny.toml` allows, read from its `allow = [...]` under `[licenses]`.
pub(crate) fn allowed(deny: &str) -> Result<Vec<String>, String> {
    let section = deny.split("[licenses]").nth(1).and_then(|rest| rest.split("allow = [").nth(1));
    let list =
        section.and_then(|rest| rest.split("\n]").next()).ok_or("deny.toml: no `allow` list under [licenses]")?;
    let quoted = |line: &str| line.split('#').next().and_then(|entry| entry.split('"').nth(1)).map(str::to_owned);
    let licences: Vec<String> = list.lines().filter_map(quoted).collect();
    if licences.is_empty() { Err("deny.toml: the `allow` list is empty".to_owned()) } else { Ok(licences) }
}

/// Every foreign package can be used under licences of the list.
pub(crate) fn are_permissive(packages: &[Package], allowed: &[String]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for package in packages.iter().filter(|package| !package.ours) {
        let what = match package.licence.as_deref() {
            None => "states no licence".to_owned(),
            Some(licence) if is_met(licence, allowed) => continue,
            Some(licence) => format!("its licence `{licence}` is not met by the list in deny.toml"),
        };
        violations.push(Violation::new("licences", &package.name, what));
    }
    violations
}

/// Foreign packages come from a registry, never from a branch of somebody's repository; those on the
/// list of vendored ones come from this clone alone, or the list is out of date.
pub(crate) fn come_from_registries(packages: &[Package]) -> Vec<Violation> {
    let foreign = packages.iter().filter(|package| !package.ours);
    let strange = |package: &&Package| {
        let is_vendored = VENDORED.iter().any(|(name, _)| *name == package.name);
        match package.source.as_deref() {
            None => !is_vendored,
            Some(source) => is_vendored || !source.starts_with("registry+"),
        }
    };
    let violation = |package: &Package| {
        let what = format!(
            "comes from {}: foreign packages come from a registry, and vendored ones (VENDORED in licences.rs) by path",
            package.source.as_deref().unwrap_or("a path")
        );
        Violation::new("sources", &package.name, what)
    };
    foreign.filter(strange).map(violation).collect()
}

/// Whether an SPDX expression can be satisfied with `allowed` alone. `/` is the old spelling of OR;
/// anything that cannot be read counts as not met.
fn is_met(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut reader = Reader { tokens: &tokens, allowed };
    reader.either().is_some_and(|met| met && reader.tokens.is_empty())
}

/// Recursive descent over `OR` < `AND` < `licence [WITH exception]` or parentheses.
struct Reader<'a> {
    tokens: &'a [&'a str],
    allowed: &'a [String],
}

impl Reader<'_> {
    fn either(&mut self) -> Option<bool> {
        let mut met = self.both()?;
        while self.takes("OR") {
            met |= self.both()?;
        }
        Some(met)
    }

    fn both(&mut self) -> Option<bool> {
        let mut met = self.one()?;
        while self.takes("AND") {
            met &= self.one()?;
        }
        Some(met)
    }

    fn one(&mut self) -> Option<bool> {
        if self.takes("(") {
            let met = self.either()?;
            return self.takes(")").then_some(met);
        }
        let mut licence = (*self.next()?).to_owned();
        if self.takes("WITH") {
            licence = format!("{licence} WITH {}", self.next()?);
        }
        Some(self.allowed.contains(&licence))
    }

    fn takes(&mut self, token: &str) -> bool {
        let found = self.tokens.first() == Some(&token);
        if found {
            self.tokens = &self.tokens[1..];
        }
        found
    }

    fn next(&mut self) -> Option<&&str> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn foreign(licence: Option<&str>, source: &str) -> Package {
        let (licence, source) = (licence.map(str::to_owned), Some(source.to_owned()));
        let features = std::collections::BTreeMap::new();
        Package { name: "x".to_owned(), ours: false, licence, source, dependencies: Vec::new(), features }
    }

    fn check(licence: &str, expected: bool) {
        let allowed = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "Unicode-3.0"].map(str::to_owned);
        assert_eq!(are_permissive(&[foreign(Some(licence), "")], &allowed).is_empty(), expected, "{licence}");
    }

    #[test]
    fn expressions_are_met_only_by_the_list() {
        check("MIT", true);
        check("GPL-3.0", false);
        check("MIT OR GPL-3.0", true);
        check("MIT AND GPL-3.0", false);
        check("GPL-2.0/MIT", true);
        check("(MIT OR Apache-2.0) AND Unicode-3.0", true);
        check("(MIT OR Apache-2.0) AND MPL-2.0", false);
        check("Apache-2.0 WITH LLVM-exception", true);
        check("Apache-2.0 WITH Other-exception", false);
        check("(MIT", false);
        check("MIT MIT", false);
    }

    #[test]
    fn a_package_without_a_licence_is_found() {
        assert_eq!(are_permissive(&[foreign(None, "")], &["MIT".to_owned()]).len(), 1);
    }

    #[test]
    fn a_package_from_a_branch_is_found() {
        assert_eq!(come_from_registries(&[foreign(None, "git+https://example.org/x#abc")]).len(), 1);
        assert_eq!(come_from_registries(&[foreign(None, "registry+https://example.org/index")]), []);
    }

    #[test]
    fn only_a_vendored_package_comes_from_a_path_and_from_nowhere_else() {
        let from = |name: &str, source: Option<&str>| {
            let (name, source) = (name.to_owned(), source.map(str::to_owned));
            let package = Package {
                name,
                ours: false,
                licence: None,
                source,
                dependencies: Vec::new(),
                features: Default::default(),
            };
            come_from_registries(&[package]).len()
        };
        assert_eq!(from("turmoil", None), 0);
        assert_eq!(from("turmoil", Some("registry+https://example.org/index")), 1);
        assert_eq!(from("x", None), 1);
    }

    #[test]
    fn the_list_is_read_with_its_comments() {
        let deny = "[licenses]\n# why\nallow = [\n    \"MIT\",\n    \"ISC\",   # \"one\" crate\n]\n";
        assert_eq!(allowed(deny).unwrap(), ["MIT", "ISC"]);
        assert!(allowed("[bans]\n").is_err());
    }
}
