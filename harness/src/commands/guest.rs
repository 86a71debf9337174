//! What `rig run` boots: our driver and suite in ntlet, somebody else's in ntlet, or somebody's image.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::run::Arguments;
use crate::build;
use crate::build::stranger::{Gathered, Named};
use crate::device::{Entrance, Model};
use crate::error::{Outcome, Problem};
use crate::files::{sha256, sha256_of};
use crate::interrupt::Interrupt;
use crate::places::Places;
use crate::project::Project;
use crate::run::archive;
use crate::run::check::Subject;
use crate::symbols::Symbols;

/// What a guest consists of.
pub(super) struct Guest {
    /// What QEMU boots.
    pub(super) image: PathBuf,
    /// Its files, as one archive.
    pub(super) archive: Option<OwnedFd>,
    /// The kernel's command line.
    pub(super) append: String,
    /// What names its functions.
    pub(super) symbols: Symbols,
    /// PE files among its files, by the names they have there.
    pub(super) modules: Vec<(String, PathBuf)>,
    /// The device's model.
    pub(super) model: Option<Model>,
    /// The package to ask about, if there is no suite.
    pub(super) check: Option<Subject>,
    /// SHA-256 of what went into it.
    pub(super) hashes: BTreeMap<String, String>,
}

/// Puts together what the arguments ask for.
pub(super) fn prepare(arguments: &Arguments, places: &Places, interrupt: &Interrupt) -> Outcome<Guest> {
    let model = match &arguments.replay {
        Some(replay) => Some(Model::recorded(build::device_model(places, interrupt)?, arguments.transport, replay)),
        None => arguments.device.as_ref().map(|command| Model::command(command, arguments.transport)).transpose()?,
    };
    match (&arguments.image, &arguments.package) {
        (Some(image), _) => foreign(image, model, arguments, places, interrupt),
        (None, Some(package)) => strangers(package, model, arguments, places, interrupt),
        (None, None) => match Project::here()? {
            Some(project) => of_project(&project, model, arguments, places, interrupt),
            None => own(model, arguments, places, interrupt),
        },
    }
}

/// ntlet with our driver and suite.
fn own(model: Option<Model>, arguments: &Arguments, places: &Places, interrupt: &Interrupt) -> Outcome<Guest> {
    let (artifacts, _lock) = build::everything(places, interrupt)?;
    let mut files = Vec::new();
    for (name, path) in artifacts.payload() {
        files.push((name.to_owned(), build::read(&path)?));
    }
    let mut hashes: BTreeMap<String, String> = files.iter().map(|(name, content)| (name.clone(), sha256(content))).collect();
    hashes.insert("ntlet".to_owned(), sha256(&build::read(&artifacts.image)?));
    let mut symbols = artifacts.symbols();
    symbols.extend_from_slice(&arguments.symbols);
    let modules = artifacts.payload().into_iter().map(|(name, path)| (name.to_owned(), path)).collect();
    Ok(Guest {
        archive: Some(packed(&files)?),
        append: "suite=suite.exe".to_owned(),
        symbols: Symbols::new(symbols),
        modules,
        model: model
            .or_else(|| (!arguments.no_device).then(|| Model::relay(artifacts.device_model.clone(), arguments.transport))),
        check: None,
        hashes,
        image: artifacts.image,
    })
}

/// ntlet with a project's driver, suite and device model.
fn of_project(
    project: &Project,
    model: Option<Model>,
    arguments: &Arguments,
    places: &Places,
    interrupt: &Interrupt,
) -> Outcome<Guest> {
    let (artifacts, lock) = build::everything(places, interrupt)?;
    let mut hashes = BTreeMap::from([("ntlet".to_owned(), sha256(&build::read(&artifacts.image)?))]);
    drop(lock);
    let (made, _lock) = build::project(project, places, interrupt)?;
    let mut files = Vec::new();
    for (name, path) in &made.payload {
        let content = build::read(path)?;
        hashes.insert(name.clone(), sha256(&content));
        files.push((name.clone(), content));
    }
    let own = || {
        let model = Model {
            program: made.model,
            arguments: ["--transport", arguments.transport.name()].map(Into::into).to_vec(),
            entrance: Entrance::Option,
            transport: arguments.transport,
            takes_faults: true,
            checker: artifacts.device_model.clone(),
        };
        (!arguments.no_device).then(|| model.logging(&arguments.device_log))
    };
    Ok(Guest {
        archive: Some(packed(&files)?),
        append: "suite=suite.exe".to_owned(),
        symbols: Symbols::new(made.symbols.into_iter().chain([artifacts.image.clone()]).collect()),
        modules: made.payload,
        model: model.or_else(own),
        check: None,
        hashes,
        image: artifacts.image,
    })
}

/// ntlet with somebody else's driver, and his suite if he has one.
fn strangers(
    package: &Path,
    model: Option<Model>,
    arguments: &Arguments,
    places: &Places,
    interrupt: &Interrupt,
) -> Outcome<Guest> {
    let program = arguments.program.as_deref();
    let gathered = Gathered::of(Named { package, services: &arguments.service, program })?;
    let (artifacts, _lock) = build::everything(places, interrupt)?;
    let mut hashes = gathered.hashes();
    hashes.insert("ntlet".to_owned(), sha256(&build::read(&artifacts.image)?));
    let mut symbols = arguments.symbols.clone();
    symbols.extend_from_slice(&gathered.symbols);
    symbols.push(artifacts.image.clone());
    Ok(Guest {
        archive: Some(packed(&gathered.files)?),
        append: gathered.append,
        symbols: Symbols::new(symbols),
        modules: gathered.modules,
        model: model
            .or_else(|| (!arguments.no_device).then(|| Model::relay(artifacts.device_model.clone(), arguments.transport))),
        check: program.is_none().then_some(Subject { inf: gathered.inf, services: gathered.services }),
        hashes,
        image: artifacts.image,
    })
}

/// An image that the user names.
fn foreign(image: &Path, model: Option<Model>, arguments: &Arguments, places: &Places, interrupt: &Interrupt) -> Outcome<Guest> {
    let digest = sha256_of(image).map_err(|error| {
        Problem::usage(format!("{} is no image", image.display()))
            .because(error.to_string())
            .so("name an ELF file that boots by PVH")
    })?;
    let model = match model {
        None if !arguments.no_device => relay(&build::device_model(places, interrupt)?, arguments),
        model => model,
    };
    Ok(Guest {
        image: image.to_path_buf(),
        archive: None,
        append: String::new(),
        symbols: Symbols::new(arguments.symbols.clone()),
        modules: Vec::new(),
        model,
        check: None,
        hashes: [(image.display().to_string(), digest)].into(),
    })
}

/// Our own model, unless there is to be none.
fn relay(program: &Path, arguments: &Arguments) -> Option<Model> {
    let model = || Model::relay(program.to_path_buf(), arguments.transport).logging(&arguments.device_log);
    (!arguments.no_device).then(model)
}

fn packed(files: &[(String, Vec<u8>)]) -> Outcome<OwnedFd> {
    archive::in_memory(files).map_err(|error| {
        Problem::environment("the guest's files cannot be packed").because(error.to_string()).so("free some memory")
    })
}
