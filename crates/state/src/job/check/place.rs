//! What makes the place of a task valid.

use super::{Found, LABEL_BYTES_MAX, LIST_MAX, check_labels};
use crate::TaskSpec;
use crate::job::near::DATASETS_MAX;
use crate::job::place::{PREFERENCES_MAX, Trait, WEIGHT_OF_PREFERENCE_MAX};

impl TaskSpec {
    pub(super) fn check_place(&self, found: &mut Found) {
        let at = |key: &str| format!("task.{}.place.{key}", self.name);
        let place = &self.place;
        let lists = [
            ("regions", place.regions.len(), LIST_MAX),
            ("clusters", place.clusters.len(), LIST_MAX),
            ("pools", place.pools.len(), LIST_MAX),
        ];
        for (key, count, max) in lists {
            if count > max {
                found.add(&at(key), format!("more than {max} {key}"));
            }
        }
        check_labels(&at("labels"), &place.labels, found);
        check_labels(&at("tolerate"), &place.tolerate, found);
        if place.prefer.len() > PREFERENCES_MAX {
            let count = place.prefer.len();
            found.add(&at("prefer"), format!("{count} preferences are over PREFERENCES_MAX ({PREFERENCES_MAX})"));
        }
        let most = WEIGHT_OF_PREFERENCE_MAX;
        for (position, preference) in place.prefer.iter().take(PREFERENCES_MAX).enumerate() {
            let at = |key: &str| at(&format!("prefer[{position}].{key}"));
            if preference.weight == 0 || preference.weight.unsigned_abs() > most {
                let message = format!("{} is not between 1 and {most}, nor between -{most} and -1", preference.weight);
                found.add(&at("weight"), message);
            }
            if let Trait::Label { key, value } = &preference.of {
                if key.is_empty() || key.len() > LABEL_BYTES_MAX || value.len() > LABEL_BYTES_MAX {
                    let most = LABEL_BYTES_MAX;
                    found.add(&at("label"), format!("a key has 1 to {most} bytes and a value at most {most}"));
                }
                if key.contains(['\0', '=']) || value.contains('\0') {
                    found.add(&at("label"), "contains a NUL byte, or its key an equals sign".into());
                }
            }
        }
        let near = &place.near;
        if near.data.len() > DATASETS_MAX {
            found
                .add(&at("near"), format!("{} pieces of data are over DATASETS_MAX ({DATASETS_MAX})", near.data.len()));
        }
        if let Some(position) = near.data.iter().position(|data| data.bytes == 0) {
            found.add(&at(&format!("near[{position}].size")), "is 0: leave out what is not read".into());
        }
        if near.weight > most || (near.weight == 0) != near.is_empty() {
            let what = if near.is_empty() {
                "says nothing without near".into()
            } else {
                format!("is not between 1 and {most}")
            };
            found.add(&at("near_weight"), what);
        }
        self.check_company(found);
        if place.cheap > most {
            found.add(&at("cheap"), format!("{} is above {most}, the highest", place.cheap));
        }
    }
}
