//! `rig doctor`: each need, where it was found, and what to do where it is missing. Fetches only when asked to.

use clap::Args;

use super::options::Ground;
use crate::console::say;
use crate::error::{Exit, Outcome};
use crate::interrupt::Interrupt;
use crate::places::Places;
use crate::setup::apt::Source;
use crate::setup::toolchain::Toolchain;
use crate::setup::{accelerator, firmware, qemu, tools};

/// Options of `rig doctor`.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// What to look at.
    #[command(flatten)]
    pub ground: Ground,
    /// Fetch what is missing, so that later runs and tests need no network.
    #[arg(long)]
    pub fetch: bool,
}

/// What was found about one need.
enum Found {
    Yes(String),
    /// Not there, but a run fetches it.
    Later(String),
    /// Not there, and a run goes on without it.
    Without(String),
    No {
        why: String,
        remedy: String,
    },
}

/// Does it.
///
/// # Errors
/// An interrupt; something that is to be fetched and cannot be.
pub fn perform(arguments: &Arguments, interrupt: &Interrupt) -> Outcome<Exit> {
    let places = Places::find(arguments.ground.setup_dir.clone());
    if arguments.fetch {
        qemu::find_or_fetch(arguments.ground.qemu.as_deref(), &places, interrupt)?;
        Toolchain::find(&places, interrupt)?.fetch_std_source(&places, interrupt)?;
        tools::for_tests(&places, interrupt)?;
        firmware::find_or_fetch(&places, interrupt)?;
    }
    let archive = Source::of_this_machine(interrupt);
    let can_fetch = archive.is_ok();
    let mut needs: Vec<(&str, Found)> = Vec::new();
    let toolchain = Toolchain::find(&places, interrupt);
    needs.push((
        "Rust toolchain",
        match &toolchain {
            Ok(toolchain) => Found::Yes(format!("{} in {}", toolchain.version, toolchain.sysroot.display())),
            Err(problem) => {
                Found::No { why: problem.why().to_owned(), remedy: "install rustup; it reads rust-toolchain.toml".into() }
            }
        },
    ));
    if let Ok(toolchain) = &toolchain {
        needs.push(("rust-lld", linker(toolchain)));
        needs.push(("standard library's source", std_source(toolchain, &places, can_fetch)));
    }
    let qemu = qemu::find(arguments.ground.qemu.as_deref(), &places, interrupt);
    interrupt.check()?;
    needs.push((
        "QEMU",
        match &qemu {
            Ok(Some(qemu)) => Found::Yes(format!("{} at {} ({})", qemu.version, qemu.program.display(), qemu.origin.text())),
            Ok(None) if can_fetch => Found::Later("`cargo rig run` fetches the distribution's newer package set".into()),
            Ok(None) => Found::No {
                why: archive.as_ref().err().map(|problem| problem.why().to_owned()).unwrap_or_default(),
                remedy: format!("install QEMU {} or newer, or name one with --qemu PATH", qemu::OLDEST),
            },
            Err(problem) => {
                Found::No { why: format!("{}: {}", problem.what(), problem.why()), remedy: "name another one".into() }
            }
        },
    ));
    if let Ok(Some(qemu)) = &qemu {
        let finding = accelerator::find(qemu, &places, interrupt)?;
        needs.push((
            "KVM",
            match finding.works {
                true => Found::Yes(finding.reason),
                false => Found::Without(format!("{}; software emulation is used", finding.reason)),
            },
        ));
    }
    for tool in tools::ALL {
        let found = match tools::find(tool, &places, interrupt)? {
            Some(found) => Found::Yes(format!("{} at {} ({})", found.version, found.program.display(), found.origin.text())),
            None if can_fetch => Found::Later("`cargo rig test` fetches it; `cargo rig run` does without".into()),
            None => Found::Without("not on PATH; tests need it, `cargo rig run` does not".into()),
        };
        needs.push((tool.name(), found));
    }
    needs.push((
        "UEFI firmware",
        match firmware::find(&places) {
            Some(firmware) => Found::Yes(firmware.code.display().to_string()),
            None if can_fetch => Found::Later("`cargo rig image build` and `cargo rig test` fetch it".into()),
            None => Found::Without("the package ovmf is not installed; Windows guests need it".into()),
        },
    ));
    needs.push((
        "package archive",
        match archive {
            Ok(source) => Found::Yes(format!("{} signed by {}", source.mirror, source.keyring.display())),
            Err(problem) => Found::Without(format!("{}; needed to fetch only", problem.why())),
        },
    ));
    Ok(tell(&needs))
}

fn linker(toolchain: &Toolchain) -> Found {
    let path = toolchain.rust_lld();
    if path.is_file() {
        return Found::Yes(path.display().to_string());
    }
    let remedy = "install the toolchain with rustup; distributions leave this linker out".into();
    Found::No { why: format!("{} is not there", path.display()), remedy }
}

fn std_source(toolchain: &Toolchain, places: &Places, can_fetch: bool) -> Found {
    if let Some(source) = toolchain.std_source(places) {
        return Found::Yes(source.path().display().to_string());
    }
    let ways = if can_fetch { "rustup, else the distribution's package" } else { "rustup" };
    Found::Later(format!("`cargo rig run` fetches it through {ways}"))
}

fn tell(needs: &[(&str, Found)]) -> Exit {
    let mut exit = Exit::Passed;
    for (name, found) in needs {
        let (mark, text) = match found {
            Found::Yes(text) => ("found", text.clone()),
            Found::Later(text) => ("to fetch", text.clone()),
            Found::Without(text) => ("without", text.clone()),
            Found::No { why, remedy } => {
                exit = Exit::Environment;
                ("missing", format!("{why}\n{:>12}do: {remedy}", ""))
            }
        };
        say(format!("{mark:>8}  {name}: {text}"));
    }
    exit
}
