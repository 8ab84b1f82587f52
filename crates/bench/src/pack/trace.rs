//! Nodes and tasks from files in the format of the OpenB trace.
//!
//! Comma-separated values under a line of names; columns are found by their names, and others are left alone. Nodes have
//! `sn`, `cpu_milli`, `gpu` (devices) and `model`; tasks have `cpu_milli`, `num_gpu`, `gpu_milli` (of one device) and may
//! have `gpu_spec`, the models that will do, separated by `|`. Memory is not read: the published figures leave it out.

use std::collections::BTreeMap;
use std::path::Path;

use quorate_scheduler::placement::pack::{DEVICES_MAX, GpuWant, MODELS_MAX, Models, Room, WHOLE, Want};

use crate::Error;

/// Lines of a file at most.
const LINES_MAX: usize = 1_000_000;

/// What was read.
#[derive(Debug)]
pub(super) struct Trace {
    /// Nodes with nothing on them, by their names.
    pub(super) rooms: Vec<Room>,
    /// What each task takes, in the order of the file.
    pub(super) wants: Vec<Want>,
}

impl Trace {
    pub(super) fn read(nodes: &Path, pods: &Path) -> Result<Self, Error> {
        let (rooms, models) = rooms(nodes, &text(nodes)?)?;
        let wants = wants(pods, &text(pods)?, &models)?;
        Ok(Self { rooms, wants })
    }

    /// Thousandths of a device, of all nodes.
    pub(super) fn gpu_milli(&self) -> u64 {
        self.rooms.iter().map(Room::gpu_milli).sum()
    }
}

fn text(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}

fn rooms(path: &Path, text: &str) -> Result<(Vec<Room>, BTreeMap<String, u8>), Error> {
    let mut models: BTreeMap<String, u8> = BTreeMap::new();
    let mut named: BTreeMap<String, Room> = BTreeMap::new();
    let table = Table::of(path, text, "node", ["sn", "cpu_milli", "gpu", "model"], [])?;
    for line in table.lines() {
        let line = line?;
        let [name, cpu, gpus, model] = line.fields;
        let devices = line.number("gpu", gpus)?;
        if devices > DEVICES_MAX as u64 {
            return Err(line.wrong(format!("gpu is {devices}, and a node has at most {DEVICES_MAX} devices: correct the number, or leave the node out")));
        }
        let number = match models.get(model) {
            Some(number) => *number,
            None if devices == 0 => 0,
            None if models.len() == MODELS_MAX => {
                return Err(line.wrong(format!("model {model:?} is one more than the {MODELS_MAX} that can be told apart: leave out nodes of some models")));
            }
            None => {
                let number = models.len() as u8;
                models.insert(model.to_owned(), number);
                number
            }
        };
        let room = Room::new(line.number("cpu_milli", cpu)?, 0, number, &vec![WHOLE; devices as usize]);
        let room = room.ok_or_else(|| line.wrong(format!("gpu is {devices}: no node has so many devices")))?;
        if named.insert(name.to_owned(), room).is_some() {
            return Err(line.wrong(format!("sn {name:?} was there before: give every node a name of its own")));
        }
    }
    if named.values().all(|room| room.devices().is_empty()) {
        return Err(wrong(
            path,
            1,
            "no node has a GPU, so there is nothing to allocate: give a list of nodes with gpu above 0".to_owned(),
        ));
    }
    Ok((named.into_values().collect(), models))
}

fn wants(path: &Path, text: &str, models: &BTreeMap<String, u8>) -> Result<Vec<Want>, Error> {
    let table = Table::of(path, text, "task", ["cpu_milli", "num_gpu", "gpu_milli"], ["gpu_spec"])?;
    let mut wants = Vec::new();
    for line in table.lines() {
        let line = line?;
        let [cpu, number, milli] = line.fields;
        let (cpu_milli, number, milli) =
            (line.number("cpu_milli", cpu)?, line.number("num_gpu", number)?, line.number("gpu_milli", milli)?);
        // What a task without GPUs says of them means nothing, and whole devices are whole.
        let gpu_milli = match number {
            0 => 0,
            1 => milli,
            _ => number.saturating_mul(u64::from(WHOLE)),
        };
        let is_whole = milli == u64::from(WHOLE);
        let gpu = GpuWant::from_milli(gpu_milli).filter(|gpu| match number {
            0 => true,
            1 => *gpu != GpuWant::None && milli <= u64::from(WHOLE),
            _ => is_whole,
        });
        let gpu = gpu.ok_or_else(|| {
            line.wrong(format!("num_gpu is {number} and gpu_milli is {milli}: write one GPU with 1 to {WHOLE}, or 2 to {DEVICES_MAX} with {WHOLE} each"))
        })?;
        let [spec] = line.more;
        let models = match spec.filter(|spec| !spec.is_empty() && gpu != GpuWant::None) {
            // A model that no node has fits nowhere, and the task is dropped.
            Some(spec) => spec
                .split('|')
                .filter_map(|model| models.get(model.trim()))
                .fold(Models::NONE, |all, model| all.with(*model)),
            None => Models::ANY,
        };
        wants.push(Want { cpu_milli, memory_bytes: 0, gpu, models });
    }
    if wants.iter().all(|want| want.gpu == GpuWant::None) {
        return Err(wrong(
            path,
            1,
            "no task takes a GPU, so there is nothing to allocate: give a list of tasks with num_gpu above 0"
                .to_owned(),
        ));
    }
    Ok(wants)
}

/// Lines of values below their names.
struct Table<'a, const N: usize, const M: usize> {
    path: &'a Path,
    text: &'a str,
    columns: [usize; N],
    more: [Option<usize>; M],
    width: usize,
}

/// One line, in the order in which the columns were asked for.
struct Line<'a, const N: usize, const M: usize> {
    path: &'a Path,
    /// From 1.
    line: usize,
    fields: [&'a str; N],
    more: [Option<&'a str>; M],
}

impl<'a, const N: usize, const M: usize> Table<'a, N, M> {
    /// Finds the columns that there must be, and those that there may be.
    fn of(path: &'a Path, text: &'a str, of: &str, names: [&str; N], more: [&str; M]) -> Result<Self, Error> {
        let head = text.trim_start_matches('\u{feff}').lines().next().unwrap_or_default();
        let found: Vec<&str> = head.split(',').map(str::trim).collect();
        let place = |name: &str| found.iter().position(|found| *found == name);
        let missing: Vec<&str> = names.into_iter().filter(|name| place(name).is_none()).collect();
        if !missing.is_empty() {
            let (missing, names) = (missing.join(", "), names.join(", "));
            return Err(wrong(
                path,
                1,
                format!("no column {missing}: a list of {of}s begins with a line of column names, among them {names}"),
            ));
        }
        let lines = text.lines().count();
        if lines > LINES_MAX {
            return Err(wrong(path, LINES_MAX + 1, format!("only {LINES_MAX} lines are read: make the list shorter")));
        }
        if lines < 2 {
            return Err(wrong(path, 1, format!("no {of} below the names of the columns: add one per line")));
        }
        let columns = names.map(|name| place(name).unwrap_or_default());
        Ok(Self { path, text, columns, more: more.map(place), width: found.len() })
    }

    fn lines(&self) -> impl Iterator<Item = Result<Line<'a, N, M>, Error>> {
        let (path, width, columns, more) = (self.path, self.width, self.columns, self.more);
        let needed = columns.iter().max().map_or(0, |last| last + 1);
        let numbered = self.text.lines().enumerate().skip(1).filter(|(_, text)| !text.trim().is_empty());
        numbered.map(move |(before, text)| {
            let line = before + 1;
            if text.contains('"') {
                return Err(wrong(path, line, "values in quotation marks are not read: write them without".to_owned()));
            }
            let values: Vec<&str> = text.split(',').map(str::trim).collect();
            // What comes last and is not needed may be left out.
            if values.len() > width || values.len() < needed {
                let found = values.len();
                return Err(wrong(
                    path,
                    line,
                    format!("{found} values under {width} names: write one for each column, empty or not"),
                ));
            }
            let value = |column: usize| values.get(column).copied().unwrap_or_default();
            Ok(Line { path, line, fields: columns.map(value), more: more.map(|column| column.map(value)) })
        })
    }
}

impl<const N: usize, const M: usize> Line<'_, N, M> {
    /// A count or an amount; bounded so that sums over all lines stay in their type.
    fn number(&self, name: &str, value: &str) -> Result<u64, Error> {
        let number = value.parse().ok().filter(|number| *number <= u64::from(u32::MAX));
        number.ok_or_else(|| self.wrong(format!("{name} is {value:?}: write a whole number from 0 to {}", u32::MAX)))
    }

    fn wrong(&self, why: String) -> Error {
        wrong(self.path, self.line, why)
    }
}

fn wrong(path: &Path, line: usize, why: String) -> Error {
    Error::Trace { path: path.to_owned(), line, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: &str = "sn,cpu_milli,memory_mib,gpu,model\nb,64000,1,2,P100\na,32000,1,0,\nc,96000,1,8,T4\n";
    const PODS: &str =
        "name,cpu_milli,num_gpu,gpu_milli,gpu_spec\np,1000,1,460,T4|P100\nq,2000,8,1000,\nr,500,0,0,T4\n";

    fn read(nodes: &str, pods: &str) -> Result<Trace, String> {
        let told = |error: Error| error.to_string();
        let (rooms, models) = rooms(Path::new("nodes.csv"), nodes).map_err(told)?;
        let wants = wants(Path::new("pods.csv"), pods, &models).map_err(told)?;
        Ok(Trace { rooms, wants })
    }

    #[test]
    fn columns_are_found_by_their_names_and_nodes_stand_by_theirs() {
        let trace = read(NODES, PODS).unwrap();
        let of = |room: &Room| (room.cpu_milli, room.devices().len());
        assert_eq!(trace.rooms.iter().map(of).collect::<Vec<_>>(), [(32_000, 0), (64_000, 2), (96_000, 8)]);
        assert_eq!(trace.gpu_milli(), 10_000);
        let swapped = "gpu_milli,num_gpu,cpu_milli\n460,1,1000\n1000,8,2000\n0,0,500\n";
        let shapes = |trace: &Trace| trace.wants.iter().map(|want| (want.cpu_milli, want.gpu)).collect::<Vec<_>>();
        assert_eq!(shapes(&read(NODES, swapped).unwrap()), shapes(&trace));
        assert_eq!(shapes(&trace)[1], (2_000, GpuWant::Whole(8)));
        let cut_short = "cpu_milli,num_gpu,gpu_milli,gpu_spec,qos\n1000,1,460\n2000,8,1000,,LS\n500,0,0,T4\n";
        assert_eq!(shapes(&read(NODES, cut_short).unwrap()), shapes(&trace));
    }

    #[test]
    fn several_models_will_do_and_one_that_no_node_has_fits_nowhere() {
        let trace =
            read(NODES, "cpu_milli,num_gpu,gpu_milli,gpu_spec\n1,1,460,T4|P100\n1,1,460,T4\n1,1,460,H900\n1,1,460,\n")
                .unwrap();
        let fits = |want: &Want| trace.rooms.iter().map(|room| room.fits(want)).collect::<Vec<_>>();
        let found: Vec<Vec<bool>> = trace.wants.iter().map(fits).collect();
        assert_eq!(found, [[false, true, true], [false, false, true], [false; 3], [false, true, true]]);
    }

    #[test]
    fn a_wrong_file_is_told_with_its_line_and_what_to_do() {
        let nodes = |line: &str| format!("sn,cpu_milli,gpu,model\na,1000,1,T4\n{line}\n");
        let pods = |line: &str| format!("cpu_milli,num_gpu,gpu_milli\n1000,1,500\n{line}\n");
        for (given, words) in [
            ((String::new(), pods("")), ["nodes.csv, line 1", "no column sn, cpu_milli, gpu, model"]),
            (("sn,cpu_milli,gpu,model\n".to_owned(), pods("")), ["nodes.csv, line 1", "add one per line"]),
            ((nodes("b,x,1,T4"), pods("")), ["nodes.csv, line 3", "cpu_milli is \"x\": write a whole number"]),
            ((nodes("b,-1,1,T4"), pods("")), ["nodes.csv, line 3", "cpu_milli is \"-1\""]),
            ((nodes("b,1,65,T4"), pods("")), ["nodes.csv, line 3", "at most 64 devices"]),
            ((nodes("a,1,1,T4"), pods("")), ["nodes.csv, line 3", "a name of its own"]),
            ((nodes("b,1,1"), pods("")), ["nodes.csv, line 3", "3 values under 4 names"]),
            ((nodes("b,1,1,\"T,4\""), pods("")), ["nodes.csv, line 3", "quotation marks"]),
            (("sn,cpu_milli,gpu,model\na,1,0,\n".to_owned(), pods("")), ["nodes.csv, line 1", "gpu above 0"]),
            ((nodes(""), "cpu_milli,gpu_milli\n1,1\n".to_owned()), ["pods.csv, line 1", "no column num_gpu"]),
            ((nodes(""), pods("1,1,1500")), ["pods.csv, line 3", "1 to 1000"]),
            ((nodes(""), pods("1,1,0")), ["pods.csv, line 3", "num_gpu is 1 and gpu_milli is 0"]),
            ((nodes(""), pods("1,2,500")), ["pods.csv, line 3", "with 1000 each"]),
            ((nodes(""), pods("1,65,1000")), ["pods.csv, line 3", "2 to 64"]),
            ((nodes(""), "cpu_milli,num_gpu,gpu_milli\n1,0,0\n".to_owned()), ["pods.csv, line 1", "num_gpu above 0"]),
        ] {
            let why = read(&given.0, &given.1).unwrap_err();
            assert!(words.iter().all(|word| why.contains(word)), "{why}");
        }
        let many: String = (0..65).map(|model| format!("n{model},1,1,m{model}\n")).collect();
        let why = read(&format!("sn,cpu_milli,gpu,model\n{many}"), &pods("")).unwrap_err();
        assert!(why.contains("line 66") && why.contains("64 that can be told apart"), "{why}");
        let missing = Trace::read(Path::new("/nowhere/nodes.csv"), Path::new("/nowhere/pods.csv")).unwrap_err();
        assert_eq!(missing.to_string(), "cannot read /nowhere/nodes.csv");
    }
}
