//! The GPUs of this machine, as the driver of their maker lists them.

use std::fs;
use std::path::Path;

use quorate_state::GpuModel;

/// One directory for each device, called by its address on the bus, with a file of `Key: value` lines.
const NVIDIA: &str = "/proc/driver/nvidia/gpus";

/// The model of each GPU, in the order of their addresses on the bus; none where there is no driver.
pub fn gpus() -> Vec<GpuModel> {
    listed(Path::new(NVIDIA))
}

fn listed(directory: &Path) -> Vec<GpuModel> {
    let mut found: Vec<_> = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    found.sort();
    let file = |path: std::path::PathBuf| fs::read_to_string(path.join("information")).ok();
    found.into_iter().filter_map(file).map(|text| model(&text)).collect()
}

/// The model in the words of a driver, as a name.
fn model(information: &str) -> GpuModel {
    let words = information.lines().find_map(|line| line.trim().strip_prefix("Model:")).unwrap_or("unknown").trim();
    let words = words.strip_prefix("NVIDIA ").unwrap_or(words);
    let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let name: String = words.chars().map(|c| if is_fine(c) { c } else { '-' }).collect();
    let name = name.trim_start_matches(['-', '.', '_']);
    GpuModel::new(name).unwrap_or_else(|_| GpuModel::unknown())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_come_in_the_order_of_the_bus_with_names_that_can_be_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        for (address, text) in [
            ("0000:81:00.0", "Model: \t\t Tesla T4\nIRQ: 1\n"),
            ("0000:3b:00.0", "Model: \t\t NVIDIA A100-SXM4-80GB\n"),
            ("0000:c1:00.0", "nothing that is known\n"),
        ] {
            fs::create_dir(dir.path().join(address)).unwrap();
            fs::write(dir.path().join(address).join("information"), text).unwrap();
        }
        let names: Vec<String> = listed(dir.path()).iter().map(ToString::to_string).collect();
        assert_eq!(names, ["A100-SXM4-80GB", "Tesla-T4", "unknown"]);
        assert!(listed(&dir.path().join("none")).is_empty());
    }
}
