//! The floors of the architecture, checked against the real dependency graph: arrows point down.

use super::Violation;
use cargo_metadata::{DependencyKind, Metadata};
use std::collections::BTreeMap;

/// A package of the dependency graph, reduced to what the rules ask about.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// True for a member of this workspace.
    pub(crate) ours: bool,
    pub(crate) licence: Option<String>,
    /// Where a foreign package comes from.
    pub(crate) source: Option<String>,
    pub(crate) dependencies: Vec<Dependency>,
    /// Its cargo features, and what each turns on.
    pub(crate) features: BTreeMap<String, Vec<String>>,
}

/// A line of a package's manifest.
#[derive(Clone, Debug)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// The version requirement as written.
    pub(crate) required: String,
    pub(crate) kind: Kind,
    /// The features of it that are asked for.
    pub(crate) features: Vec<String>,
}

/// When a dependency is linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Product,
    Build,
    Test,
}

/// Our packages and their floors. A package may depend on lower floors only, in tests as well; what lies
/// below all floors knows nothing of ours and is for everyone.
const FLOORS: &[(&str, i8)] = &[
    ("quorate-planted", -1),
    ("quorate-seams", 0),
    ("quorate-values", 0),
    ("quorate-state", 0),
    ("quorate-flow", 1),
    ("quorate-proto", 1),
    ("quorate-disk", 1),
    ("quorate-tls", 1),
    ("quorate-scheduler", 2),
    ("quorate-raft", 2),
    ("quorate-client", 2),
    ("quorate-server", 3),
    ("quorate-agent", 3),
    ("quorate-bench", 3),
    ("quorate", 4),
    ("quorate-simulation", 4),
    ("quorate-fuzz", 5),
    ("quorate-tests", 5),
    ("xtask", 0),
];

/// Who alone may link what, in the product; the reason is what the boundary is for.
const RESERVED: &[(&str, &[&str], &str)] = &[
    (
        "quorate-disk",
        &["quorate", "quorate-simulation"],
        "a store arrives as Arc<dyn Disk>; only main and the simulator, which crashes it, link RocksDB",
    ),
    (
        "quorate-scheduler",
        &["quorate-server", "quorate-simulation", "quorate-bench"],
        "only the leader decides; an oracle decides again, and a benchmark plays a trace against the decisions",
    ),
    (
        "quorate-raft",
        &["quorate-server", "quorate-simulation", "quorate"],
        "the log is reached through a replica's services",
    ),
    ("quorate-server", &["quorate", "quorate-simulation"], "one wiring of a replica"),
    ("quorate-agent", &["quorate", "quorate-simulation"], "one wiring of an agent"),
    ("openraft", &["quorate-raft"], "consensus stays behind quorate-raft"),
    ("openraft-rt", &["quorate-raft"], "consensus stays behind quorate-raft"),
    ("openraft-rt-tokio", &["quorate-raft"], "consensus stays behind quorate-raft"),
    ("rocksdb", &["quorate-disk"], "the store stays behind quorate-disk"),
    ("turmoil", &["quorate-simulation"], "the simulator is not part of the product"),
    ("rustls", &["quorate-tls"], "one TLS stack, in one place"),
    ("tokio-rustls", &["quorate-tls"], "one TLS stack, in one place"),
    ("rcgen", &["quorate-tls"], "one TLS stack, in one place"),
    ("cel", &["quorate-values"], "what an expression means is said in one place"),
    ("clap", &["quorate", "quorate-simulation"], "command lines are read on the top floor"),
];

/// Crates that compute values from values, and all that their product code may link.
const PURE: &[(&str, &[&str])] = &[
    ("quorate-planted", &[]),
    ("quorate-values", &["cel", "serde_json", "strsim", "thiserror"]),
    ("quorate-state", &["quorate-planted", "rpds", "thiserror"]),
    ("quorate-flow", &["quorate-state", "quorate-values", "strsim"]),
    ("quorate-scheduler", &["quorate-flow", "quorate-planted", "quorate-state", "rpds", "thiserror"]),
];

/// Packages whose versions are pinned exactly, because their numbers promise nothing of what we use.
const PINNED: [&str; 2] = ["openraft", "cel"];

/// The feature of our packages under which bugs can be planted in them.
const PLANTED: &str = "planted";

/// The packages of `metadata`.
pub(crate) fn packages(metadata: &Metadata) -> Vec<Package> {
    let reduce = |package: &cargo_metadata::Package| Package {
        name: package.name.to_string(),
        ours: metadata.workspace_members.contains(&package.id),
        licence: package.license.clone(),
        source: package.source.as_ref().map(|source| source.repr.clone()),
        dependencies: package.dependencies.iter().map(dependency).collect(),
        features: package.features.clone(),
    };
    metadata.packages.iter().map(reduce).collect()
}

fn dependency(dependency: &cargo_metadata::Dependency) -> Dependency {
    let kind = match dependency.kind {
        DependencyKind::Development => Kind::Test,
        DependencyKind::Build => Kind::Build,
        _ => Kind::Product,
    };
    let features = dependency.features.clone();
    Dependency { name: dependency.name.clone(), required: dependency.req.to_string(), kind, features }
}

/// Every member has a floor, and depends on lower floors only.
pub(crate) fn arrows_point_down(packages: &[Package]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for package in packages.iter().filter(|package| package.ours) {
        let Some(floor) = floor_of(&package.name) else {
            let what = "has no floor: add it to FLOORS in crates/xtask/src/tidy/floors.rs and to docs/ARCHITECTURE.md";
            violations.push(Violation::new("floors", &package.name, what));
            continue;
        };
        for dependency in &package.dependencies {
            if let Some(below) = floor_of(&dependency.name).filter(|below| *below >= floor) {
                let what =
                    format!("floor {floor} may not use `{}` on floor {below}: arrows point down", dependency.name);
                violations.push(Violation::new("floors", &package.name, what));
            }
        }
    }
    violations
}

/// What is reserved for certain crates is linked by those alone; their tests are free.
pub(crate) fn links_are_reserved(packages: &[Package]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for package in packages.iter().filter(|package| package.ours) {
        for dependency in package.dependencies.iter().filter(|dependency| dependency.kind != Kind::Test) {
            for (reserved, allowed, because) in RESERVED {
                if dependency.name == *reserved && !allowed.contains(&package.name.as_str()) {
                    let what = format!("may not link `{reserved}`: {because}");
                    violations.push(Violation::new("reserved", &package.name, what));
                }
            }
        }
    }
    violations
}

/// The crates that only compute link nothing that could do more.
pub(crate) fn pure_crates_stay_pure(packages: &[Package]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (name, allowed) in PURE {
        for package in packages.iter().filter(|package| package.ours && package.name == *name) {
            let foreign = |dependency: &&Dependency| {
                dependency.kind != Kind::Test && !allowed.contains(&dependency.name.as_str())
            };
            for dependency in package.dependencies.iter().filter(foreign) {
                let what = format!(
                    "may not link `{}`: it computes values from values, with {allowed:?} only",
                    dependency.name
                );
                violations.push(Violation::new("pure", *name, what));
            }
        }
    }
    violations
}

/// Alphas are pinned to the very number that was tested.
pub(crate) fn pins_are_exact(packages: &[Package]) -> Vec<Violation> {
    let loose = |dependency: &&Dependency| {
        PINNED.iter().any(|pinned| dependency.name.starts_with(pinned)) && !dependency.required.starts_with('=')
    };
    let of_package = |package: &Package| {
        let loose = package.dependencies.iter().filter(loose);
        let name = package.name.clone();
        let violation = move |dependency: &Dependency| {
            let what = format!("`{}` must be pinned with `=`, found `{}`", dependency.name, dependency.required);
            Violation::new("pins", &name, what)
        };
        loose.map(violation).collect::<Vec<_>>()
    };
    packages.iter().filter(|package| package.ours).flat_map(of_package).collect()
}

/// No build has bugs planted in it unless its command line says so: features unify over a workspace, so
/// one careless dependency would be enough to ship them.
pub(crate) fn bugs_are_not_shipped(packages: &[Package]) -> Vec<Violation> {
    let turned_on = format!("/{PLANTED}");
    let mut violations = Vec::new();
    for package in packages.iter().filter(|package| package.ours) {
        for dependency in package.dependencies.iter().filter(|one| one.features.iter().any(|name| name == PLANTED)) {
            let what = format!("may not depend on `{}` with its feature `{PLANTED}`", dependency.name);
            violations.push(Violation::new("planted", &package.name, what));
        }
        for (feature, on) in package.features.iter().filter(|(feature, _)| *feature != PLANTED) {
            if on.iter().any(|on| on == PLANTED || on.ends_with(&turned_on)) {
                let what = format!("may not turn on `{PLANTED}` by its feature `{feature}`");
                violations.push(Violation::new("planted", &package.name, what));
            }
        }
    }
    violations
}

fn floor_of(name: &str) -> Option<i8> {
    FLOORS.iter().find(|(known, _)| *known == name).map(|(_, floor)| *floor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[(&str, Kind)]) -> Package {
        let dependency = |(name, kind): &(&str, Kind)| Dependency {
            name: (*name).to_owned(),
            required: "^1".to_owned(),
            kind: *kind,
            features: Vec::new(),
        };
        let dependencies = dependencies.iter().map(dependency).collect();
        let features = BTreeMap::new();
        Package { name: name.to_owned(), ours: true, licence: None, source: None, dependencies, features }
    }

    #[test]
    fn an_arrow_upwards_or_sideways_is_found() {
        let up = package("quorate-state", &[("quorate-raft", Kind::Product)]);
        let sideways = package("quorate-agent", &[("quorate-server", Kind::Test)]);
        let down = package("quorate-server", &[("quorate-raft", Kind::Product), ("tokio", Kind::Product)]);
        assert_eq!(arrows_point_down(&[up]).len(), 1);
        assert_eq!(arrows_point_down(&[sideways]).len(), 1);
        assert_eq!(arrows_point_down(&[down]), []);
    }

    #[test]
    fn a_member_without_a_floor_is_found() {
        assert_eq!(arrows_point_down(&[package("quorate-attic", &[])]).len(), 1);
    }

    #[test]
    fn a_reserved_link_is_found_in_the_product_and_free_in_tests() {
        assert_eq!(links_are_reserved(&[package("quorate-raft", &[("quorate-disk", Kind::Product)])]).len(), 1);
        assert_eq!(links_are_reserved(&[package("quorate-raft", &[("quorate-disk", Kind::Test)])]), []);
        assert_eq!(links_are_reserved(&[package("quorate", &[("quorate-disk", Kind::Product)])]), []);
        assert_eq!(links_are_reserved(&[package("quorate-server", &[("openraft", Kind::Product)])]).len(), 1);
    }

    #[test]
    fn an_impure_link_is_found() {
        assert_eq!(pure_crates_stay_pure(&[package("quorate-state", &[("tokio", Kind::Product)])]).len(), 1);
        assert_eq!(pure_crates_stay_pure(&[package("quorate-state", &[("proptest", Kind::Test)])]), []);
    }

    #[test]
    fn planted_bugs_are_passed_on_by_the_feature_of_that_name_alone() {
        let mut server = package("quorate-server", &[("quorate-raft", Kind::Product)]);
        server.features.insert("planted".to_owned(), vec!["quorate-raft/planted".to_owned()]);
        assert_eq!(bugs_are_not_shipped(std::slice::from_ref(&server)), []);
        server.features.insert("default".to_owned(), vec!["planted".to_owned()]);
        server.features.insert("extra".to_owned(), vec!["quorate-raft/planted".to_owned()]);
        server.dependencies[0].features.push("planted".to_owned());
        assert_eq!(bugs_are_not_shipped(&[server]).len(), 3);
    }

    #[test]
    fn a_loose_pin_is_found() {
        let mut raft = package("quorate-raft", &[("openraft", Kind::Product)]);
        assert_eq!(pins_are_exact(std::slice::from_ref(&raft)).len(), 1);
        raft.dependencies[0].required = "=0.10.0-alpha.37".to_owned();
        assert_eq!(pins_are_exact(&[raft]), []);
    }
}
