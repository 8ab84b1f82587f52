//! Chores of this repository that are better written in Rust than in a shell: `cargo xtask tidy`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a chore reports to the person who ran it")]

mod tidy;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("tidy"), None) => tidy(),
        _ => {
            eprintln!("usage: cargo xtask tidy    check the rules that the compiler cannot");
            ExitCode::from(2)
        }
    }
}

fn tidy() -> ExitCode {
    match tidy::run() {
        Ok(report) if report.violations.is_empty() => {
            println!("tidy: {} files and {} packages keep {} rules", report.files, report.packages, tidy::RULES);
            ExitCode::SUCCESS
        }
        Ok(report) => {
            for violation in &report.violations {
                println!("{violation}");
            }
            println!("tidy: {} violations in {} files", report.violations.len(), report.files);
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("tidy: {error}");
            ExitCode::FAILURE
        }
    }
}
