//! What an installed Windows is given for a run: the package's files, the suite, and what they need to be let in.

use std::path::Path;

use driver_package::catalogue::{self, Listed};
use driver_package::key::Signer;
use driver_package::{authenticode, inf};

use crate::build::{self, Artifacts};
use crate::error::{Outcome, Problem};
use crate::run::agent::Preparation;

/// The suite's program, on the small disk.
const PROGRAM: &str = "suite.exe";

/// Files for the small disk, and how the guest is made ready with them.
#[derive(Debug)]
pub struct Payload {
    /// Files by name.
    pub files: Vec<(String, Vec<u8>)>,
    /// What the agent is told to do with them.
    pub preparation: Preparation,
}

/// Our own package, the probe, which is signed for the occasion, and the suite.
///
/// # Errors
/// The disk's; a driver that cannot be signed.
pub fn own(artifacts: &Artifacts, keys: &Path) -> Outcome<Payload> {
    let mut files = Vec::new();
    for (name, path) in artifacts.payload() {
        files.push((name.to_owned(), build::read(&path)?));
    }
    for name in ["relay.cat", "relay.cer"] {
        files.push((name.to_owned(), build::read(&artifacts.package.join(name))?));
    }
    sign_probe(&mut files, keys)?;
    let services = ["relay", "relayflt", "probe"].map(str::to_owned).to_vec();
    Ok(Payload {
        files,
        preparation: Preparation {
            certificates: vec!["relay.cer".to_owned()],
            packages: vec!["relay.inf".to_owned()],
            devices: vec![(r"Root\WdfrigProbe".to_owned(), "probe.inf".to_owned())],
            services,
            program: PROGRAM.to_owned(),
            ..Preparation::default()
        },
    })
}

/// A project's package and suite, whose names end as everybody's do.
///
/// # Errors
/// The disk's; there is no suite among them.
pub fn of_files(files: Vec<(String, Vec<u8>)>) -> Outcome<Payload> {
    let named = |ending: &str| {
        let found = files.iter().map(|(name, _)| name).filter(|name| name.to_ascii_lowercase().ends_with(ending));
        found.cloned().collect::<Vec<_>>()
    };
    let programs = named(".exe");
    let [program] = programs.as_slice() else {
        return Err(Problem::usage("there is no suite for Windows to run")
            .because(format!("programs among the guest's files: {}", programs.join(", ")))
            .so("give one with --program"));
    };
    let services = named(".sys").iter().map(|name| name[..name.len() - 4].to_owned()).collect();
    let preparation = Preparation {
        certificates: named(".cer"),
        packages: named(".inf"),
        services,
        program: program.clone(),
        ..Preparation::default()
    };
    Ok(Payload { files, preparation })
}

/// Windows takes no driver without a signature, not even for a test: the probe gets one, and a catalogue.
fn sign_probe(files: &mut Vec<(String, Vec<u8>)>, keys: &Path) -> Outcome<()> {
    let refused = |why: String| Problem::environment("the probe cannot be signed").because(why).so("see `cargo rig package`");
    let signer = Signer::of(keys).map_err(|error| refused(error.to_string()))?;
    let date = inf::build_time().map_err(refused)?;
    let mut listed = Vec::new();
    for (name, content) in files.iter_mut() {
        if name == "probe.sys" {
            *content = authenticode::sign(content, &signer).map_err(|error| refused(error.to_string()))?;
        }
        if name.starts_with("probe.") {
            listed.push(Listed { name, content, is_image: name.ends_with(".sys") });
        }
    }
    let catalogue = catalogue::write(&listed, &[r"root\wdfrigprobe".to_owned()], date, &signer);
    let catalogue = catalogue.map_err(|error| refused(error.to_string()))?;
    files.push(("probe.cat".to_owned(), catalogue));
    Ok(())
}
