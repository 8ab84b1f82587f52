//! Golden files: bytes that were frozen, as hexadecimal lines.

/// Compares lines of hexadecimal digits with a file of `golden/`. With `QUORATE_BLESS` set it writes
/// the file instead, which is right only for a format that no release has written yet.
pub(crate) fn assert_golden(file: &str, lines: &[String]) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(file);
    if std::env::var_os("QUORATE_BLESS").is_some() {
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
    }
    let frozen = std::fs::read_to_string(&path).unwrap();
    for (number, (line, frozen)) in lines.iter().zip(frozen.lines()).enumerate() {
        assert_eq!(line, frozen, "line {} of {file}: stored bytes have changed, see docs/formats.md", number + 1);
    }
    assert_eq!(lines.len(), frozen.lines().count(), "{file}");
}

/// The lines of a file of `golden/`, each as the byte strings that it consists of.
pub(crate) fn golden(file: &str) -> Vec<Vec<Vec<u8>>> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(file);
    let byte = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap();
    let bytes = |word: &str| word.as_bytes().chunks(2).map(byte).collect();
    let frozen = std::fs::read_to_string(path).unwrap();
    frozen.lines().map(|line| line.split(' ').map(bytes).collect()).collect()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
