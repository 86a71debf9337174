//! What `rig run` boots: our driver and suite in ntlet, somebody else's in ntlet, or somebody's image.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::run::{Arguments, Kind};
use crate::build::package::KEYS;
use crate::build::stranger::{Gathered, Named};
use crate::build::{self, Artifacts};
use crate::device::{Entrance, Model};
use crate::error::{Outcome, Problem};
use crate::files::{sha256, sha256_of};
use crate::interrupt::Interrupt;
use crate::places::Places;
use crate::project::Project;
use crate::run::agent::Preparation;
use crate::run::archive;
use crate::run::boot::Installed;
use crate::run::check::Subject;
use crate::symbols::Symbols;
use crate::windows::payload;
use crate::windows::pc::{Pc, Writes};
use crate::windows::store::{self, Image};

/// What a guest consists of.
pub(super) struct Guest {
    /// What QEMU boots.
    pub(super) image: PathBuf,
    /// Its files, by the names they have there.
    files: Vec<(String, Vec<u8>)>,
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
    /// The installed Windows, if it is one.
    pub(super) windows: Option<Installed>,
    /// Its memory, in MiB, if it wants another amount than ours.
    pub(super) memory: Option<u32>,
    /// SHA-256 of what went into it.
    pub(super) hashes: BTreeMap<String, String>,
}

/// Puts together what the arguments ask for.
pub(super) fn prepare(arguments: &Arguments, places: &Places, interrupt: &Interrupt) -> Outcome<Guest> {
    let model = match &arguments.replay {
        Some(replay) => Some(Model::recorded(build::device_model(places, interrupt)?, arguments.transport, &replay.words)),
        None => arguments.device.as_ref().map(|command| Model::command(command, arguments.transport)).transpose()?,
    };
    if arguments.rig == Kind::Windows {
        return windows(model, arguments, places, interrupt);
    }
    let framework = Gathered::framework(&arguments.framework)?;
    let guest = match (&arguments.image, &arguments.package) {
        (Some(image), _) => foreign(image, model, arguments, places, interrupt),
        (None, Some(package)) => strangers(package, model, arguments, places, interrupt),
        (None, None) => match Project::here()? {
            Some(project) => of_project(&project, model, arguments, places, interrupt),
            None => own(model, arguments, places, interrupt),
        },
    }?;
    guest.with(framework)
}

impl Guest {
    /// Its files, as one archive.
    pub(super) fn archive(&self) -> Outcome<Option<OwnedFd>> {
        if self.files.is_empty() {
            return Ok(None);
        }
        archive::in_memory(&self.files).map(Some).map_err(|error| {
            Problem::environment("the guest's files cannot be packed").because(error.to_string()).so("free some memory")
        })
    }

    /// The same guest with another framework.
    fn with(mut self, framework: Gathered) -> Outcome<Self> {
        let taken = |name: &str| self.files.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
        if let Some((name, _)) = framework.files.iter().find(|(name, _)| taken(name)) {
            return Err(Problem::usage(format!("{name} cannot be the framework"))
                .because("a file of the guest already has that name")
                .so("give it another name, such as Wdf01000.sys"));
        }
        if !framework.append.is_empty() {
            self.append = format!("{} {}", self.append, framework.append);
        }
        self.hashes.extend(framework.hashes());
        self.symbols = self.symbols.and(framework.symbols);
        self.modules.extend(framework.modules);
        self.files.extend(framework.files);
        Ok(self)
    }
}

/// An installed Windows with our driver and suite, or a project's.
fn windows(model: Option<Model>, arguments: &Arguments, places: &Places, interrupt: &Interrupt) -> Outcome<Guest> {
    let named = |image: &PathBuf| image.to_str().map(str::to_owned);
    let Some(name) = arguments.image.as_ref().and_then(named) else {
        return Err(Problem::usage("which Windows?")
            .because("--rig windows runs an image that `cargo rig image build` has made, and none is named")
            .so("add --image NAME; `cargo rig image list` shows the names"));
    };
    let image = Image::find(&name, places)?;
    let (artifacts, lock) = build::everything(places, interrupt)?;
    let (payload, symbols, modules, own) = match Project::here()? {
        Some(project) => {
            drop(lock);
            let (made, _lock) = build::project(&project, places, interrupt)?;
            let mut files = Vec::new();
            for (name, path) in &made.payload {
                files.push((name.clone(), build::read(path)?));
            }
            // Only Windows asks who signed a package.
            let service = project.service();
            for name in ["cat", "cer"].map(|ending| format!("{service}.{ending}")) {
                let content = build::read(&places.rig().join(format!("package-{service}")).join(&name))?;
                files.push((name, content));
            }
            (payload::of_files(files)?, made.symbols, made.payload, of_projects(&made.model, &artifacts, arguments))
        }
        None => {
            let payload = payload::own(&artifacts, &places.setup.join(KEYS))?;
            (payload, artifacts.symbols(), modules_of(&artifacts), relay(&artifacts.device_model, arguments))
        }
    };
    let mut hashes: BTreeMap<String, String> =
        payload.files.iter().map(|(name, content)| (name.clone(), sha256(content))).collect();
    hashes.extend(image.manifest.files.iter().map(|(name, digest)| (format!("windows {name}"), digest.clone())));
    let preparation = Preparation { restart_patience: Duration::from_secs(arguments.restart_timeout), ..payload.preparation };
    let pc = Pc {
        firmware: image.file(store::FIRMWARE),
        variables: image.file(store::VARIABLES),
        disk: image.file(&image.manifest.disk),
        writes: Writes::Forgotten,
        media: None,
        drivers: None,
        files: payload.files,
        debugger: None,
    };
    Ok(Guest {
        files: Vec::new(),
        append: String::new(),
        symbols: Symbols::new(symbols),
        modules,
        model: model.or(own),
        check: None,
        memory: Some(image.manifest.memory_mib),
        image: pc.disk.clone(),
        windows: Some(Installed { pc, preparation }),
        hashes,
    })
}

/// Our own PE files, by the names they have in the guest.
fn modules_of(artifacts: &Artifacts) -> Vec<(String, PathBuf)> {
    artifacts.payload().into_iter().map(|(name, path)| (name.to_owned(), path)).collect()
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
    let modules = modules_of(&artifacts);
    Ok(Guest {
        files,
        append: "suite=suite.exe".to_owned(),
        symbols: Symbols::new(symbols),
        modules,
        model: model
            .or_else(|| (!arguments.no_device).then(|| Model::relay(artifacts.device_model.clone(), arguments.transport))),
        check: None,
        windows: None,
        memory: None,
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
    let (artifacts, lock) = build::machine(places, interrupt)?;
    let mut hashes = BTreeMap::from([("ntlet".to_owned(), sha256(&build::read(&artifacts.image)?))]);
    drop(lock);
    let (made, _lock) = build::project(project, places, interrupt)?;
    let mut files = Vec::new();
    for (name, path) in &made.payload {
        let content = build::read(path)?;
        hashes.insert(name.clone(), sha256(&content));
        files.push((name.clone(), content));
    }
    Ok(Guest {
        files,
        append: "suite=suite.exe".to_owned(),
        symbols: Symbols::new(made.symbols.into_iter().chain([artifacts.image.clone()]).collect()),
        modules: made.payload,
        model: model.or_else(|| of_projects(&made.model, &artifacts, arguments)),
        check: None,
        windows: None,
        memory: None,
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
    let (artifacts, _lock) = build::machine(places, interrupt)?;
    let mut hashes = gathered.hashes();
    hashes.insert("ntlet".to_owned(), sha256(&build::read(&artifacts.image)?));
    let mut symbols = arguments.symbols.clone();
    symbols.extend_from_slice(&gathered.symbols);
    symbols.push(artifacts.image.clone());
    Ok(Guest {
        files: gathered.files,
        append: gathered.append,
        symbols: Symbols::new(symbols),
        modules: gathered.modules,
        model: model
            .or_else(|| (!arguments.no_device).then(|| Model::relay(artifacts.device_model.clone(), arguments.transport))),
        check: program.is_none().then_some(Subject { inf: gathered.inf, services: gathered.services }),
        windows: None,
        memory: None,
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
        files: Vec::new(),
        append: String::new(),
        symbols: Symbols::new(arguments.symbols.clone()),
        modules: Vec::new(),
        model,
        check: None,
        windows: None,
        memory: None,
        hashes: [(image.display().to_string(), digest)].into(),
    })
}

/// A project's model, unless there is to be none.
fn of_projects(program: &Path, artifacts: &Artifacts, arguments: &Arguments) -> Option<Model> {
    let model = || Model {
        program: program.to_path_buf(),
        arguments: ["--transport", arguments.transport.name()].map(Into::into).to_vec(),
        entrance: Entrance::Option,
        transport: arguments.transport,
        takes_faults: true,
        has_last_word: false,
        checker: artifacts.device_model.clone(),
    };
    (!arguments.no_device).then(|| model().logging(&arguments.device_log))
}

/// Our own model, unless there is to be none.
fn relay(program: &Path, arguments: &Arguments) -> Option<Model> {
    let model = || Model::relay(program.to_path_buf(), arguments.transport).logging(&arguments.device_log);
    (!arguments.no_device).then(model)
}
