//! Building what a run boots: the drivers, suite.exe, the ntlet image, the device model, and the driver package.
//!
//! Cargo does the building. When none of the sources has changed since the last time, cargo is not even asked (see [`stamp`]),
//! because asking it about five artifacts costs more than booting the guest.

pub mod link;
pub mod names;
pub mod package;
pub mod stamp;
pub mod stranger;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use driver_package::inf::Inf;

use crate::console::{Step, note};
use crate::error::{AtPath as _, Outcome, Problem};
use crate::files::Lock;
use crate::interrupt::Interrupt;
use crate::places::Places;
use crate::project::Project;
use crate::setup::toolchain::{SOURCE_VARIABLE, StdSource, Toolchain, cargo};
use crate::tool::Tool;
use link::Linked;
use names::SourceNames;
use stamp::Stamp;

/// Longest time for one artifact. The first one also builds `core` and `alloc`.
const DEADLINE: Duration = Duration::from_secs(20 * 60);
/// What a Windows kernel driver or a native program is built for.
pub const WINDOWS: &str = "x86_64-pc-windows-msvc";
/// What the guest's kernel is built for.
pub const BARE: &str = "x86_64-unknown-none";

/// Name that the probe has in the guest.
const PROBE: &str = "probe.sys";

/// Everything that a run boots.
#[derive(Clone, Debug)]
pub struct Artifacts {
    /// The ntlet image.
    pub image: PathBuf,
    /// suite.exe.
    pub suite: PathBuf,
    /// Its symbols.
    pub suite_symbols: PathBuf,
    /// The folder of the driver package: relay.inf, relay.sys, relayflt.sys, their symbols, catalogue and certificate.
    pub package: PathBuf,
    /// probe.sys, which is no part of the package: it is for tests.
    pub probe: PathBuf,
    /// The INF that installs it.
    pub probe_inf: PathBuf,
    /// Its symbols.
    pub probe_symbols: PathBuf,
    /// The binary that serves a device.
    pub device_model: PathBuf,
}

impl Artifacts {
    /// Where the last build left them; they may be missing or old.
    #[must_use]
    pub fn built(places: &Places) -> Self {
        Self::of(places)
    }

    fn of(places: &Places) -> Self {
        let windows = places.guest_target().join(WINDOWS).join("guest");
        Self {
            image: places.guest_target().join(BARE).join("guest/ntlet"),
            suite: windows.join("suite.exe"),
            suite_symbols: windows.join("suite.pdb"),
            package: places.package(),
            probe: windows.join("probe.dll"),
            probe_inf: places.root.join("driver/probe/probe.inf"),
            probe_symbols: windows.join("probe.pdb"),
            device_model: places.target.join("debug/device-model"),
        }
    }

    /// Files that go to the guest, by the name they have there.
    #[must_use]
    pub fn payload(&self) -> Vec<(&'static str, PathBuf)> {
        vec![
            ("relay.inf", self.package.join("relay.inf")),
            ("relay.sys", self.package.join("relay.sys")),
            ("relayflt.sys", self.package.join("relayflt.sys")),
            ("probe.inf", self.probe_inf.clone()),
            (PROBE, self.probe.clone()),
            ("suite.exe", self.suite.clone()),
        ]
    }

    /// Files that name functions in the guest.
    #[must_use]
    pub fn symbols(&self) -> Vec<PathBuf> {
        let packed = ["relay.pdb", "relayflt.pdb"].map(|name| self.package.join(name));
        let others = [&self.probe_symbols, &self.suite_symbols, &self.image];
        packed.into_iter().chain(others.into_iter().cloned()).collect()
    }

    fn all(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = self.payload().into_iter().map(|(_, file)| file).collect();
        files.extend(self.symbols());
        files.push(self.device_model.clone());
        files
    }
}

/// Builds what is out of date. The lock in the result keeps other builds away until the caller has read what it needs.
///
/// # Errors
/// Something does not compile; the standard library's source cannot be had; an interrupt.
pub fn everything(places: &Places, interrupt: &Interrupt) -> Outcome<(Artifacts, Lock)> {
    let lock = Lock::take(&places.rig().join("build.lock"), "build", interrupt)?;
    let artifacts = Artifacts::of(places);
    let stamp = Stamp::of(places, "everything", &artifacts.all())?;
    if stamp.is_current() {
        return Ok((artifacts, lock));
    }
    let builder = Builder::of_repository(places, interrupt)?;
    builder.driver("relay", "relay")?;
    builder.driver("relayflt", "relay-filter")?;
    builder.driver("probe", "probe")?;
    builder.pe("suite.exe", &["-p", "suites", "--bin", "suite"], Linked::Program { entry: "suite_start" })?;
    builder.image()?;
    builder.host.device_model()?;
    builder.package(package::relay, &artifacts.package)?;
    // The sources may have changed while cargo read them; the stamp was taken before, so the next run looks again.
    stamp.record()?;
    Ok((artifacts, lock))
}

/// Builds what a run of somebody's own driver needs of ours: ntlet's image and the device model. As [`everything`].
///
/// # Errors
/// As [`everything`].
pub fn machine(places: &Places, interrupt: &Interrupt) -> Outcome<(Artifacts, Lock)> {
    let lock = Lock::take(&places.rig().join("build.lock"), "build", interrupt)?;
    let artifacts = Artifacts::of(places);
    let stamp = Stamp::of(places, "machine", &[artifacts.image.clone(), artifacts.device_model.clone()])?;
    if !stamp.is_current() {
        let builder = Builder::of_repository(places, interrupt)?;
        builder.image()?;
        builder.host.device_model()?;
        stamp.record()?;
    }
    Ok((artifacts, lock))
}

/// Builds and signs the driver package alone; its files, and a lock that keeps other builds away until the caller has read them.
///
/// # Errors
/// The driver does not compile; the standard library's source cannot be had; the package breaks the rules; an interrupt.
pub fn driver_package(places: &Places, interrupt: &Interrupt) -> Outcome<(Vec<PathBuf>, Lock)> {
    let lock = Lock::take(&places.rig().join("build.lock"), "build", interrupt)?;
    let builder = Builder::of_repository(places, interrupt)?;
    builder.driver("relay", "relay")?;
    builder.driver("relayflt", "relay-filter")?;
    let files = builder.package(package::relay, &places.package())?;
    Ok((files, lock))
}

/// Builds and signs the driver package of a project; else as [`driver_package()`].
///
/// # Errors
/// As [`driver_package()`].
pub fn project_package(project: &Project, places: &Places, interrupt: &Interrupt) -> Outcome<(Vec<PathBuf>, Lock)> {
    let lock = Lock::take(&places.rig().join("build.lock"), "build", interrupt)?;
    let files = Builder::of_project(project, places, interrupt)?.project_package(project)?;
    Ok((files, lock))
}

/// What a run of a project boots beside the guest's kernel.
#[derive(Clone, Debug)]
pub struct ProjectArtifacts {
    /// Files that go to the guest, by the name they have there.
    pub payload: Vec<(String, PathBuf)>,
    /// Files that name functions in the guest.
    pub symbols: Vec<PathBuf>,
    /// The program that serves the device.
    pub model: PathBuf,
}

/// Builds a project: driver package, suite, device model. Its crates share this repository's target folders, so that the standard
/// library and everything that both use is built once.
///
/// # Errors
/// As [`everything`].
pub fn project(project: &Project, places: &Places, interrupt: &Interrupt) -> Outcome<(ProjectArtifacts, Lock)> {
    let (mut files, lock) = project_package(project, places, interrupt)?;
    let builder = Builder::of_project(project, places, interrupt)?;
    let (suite, model) = (project.suite(), project.model());
    builder.pe("the suite", &["-p", suite, "--bin", suite], Linked::Program { entry: "suite_start" })?;
    builder.host.program("the device model", model)?;
    let windows = places.guest_target().join(WINDOWS).join("guest");
    let is_for_the_guest = |file: &PathBuf| file.extension().is_some_and(|ending| ending == "sys" || ending == "inf");
    let symbols = files.extract_if(.., |file| file.extension().is_some_and(|ending| ending == "pdb")).collect::<Vec<_>>();
    files.retain(is_for_the_guest);
    let named = |file: PathBuf| (file.file_name().unwrap_or_default().to_string_lossy().into_owned(), file);
    let mut payload: Vec<(String, PathBuf)> = files.into_iter().map(named).collect();
    payload.push(("suite.exe".to_owned(), windows.join(suite).with_extension("exe")));
    let suite_symbols = windows.join(suite.replace('-', "_")).with_extension("pdb");
    let symbols = symbols.into_iter().chain([suite_symbols]).collect();
    Ok((ProjectArtifacts { payload, symbols, model: places.target.join("debug").join(model) }, lock))
}

/// Builds one PE file that runs in a guest, alone: the program `name` of the crate of that name.
///
/// # Errors
/// As [`everything`].
pub fn program(name: &str, linked: Linked, places: &Places, interrupt: &Interrupt) -> Outcome<(PathBuf, Lock)> {
    let lock = Lock::take(&places.rig().join("build.lock"), "build", interrupt)?;
    let path = places.guest_target().join(WINDOWS).join("guest").join(name).with_extension("exe");
    let stamp = Stamp::of(places, name, std::slice::from_ref(&path))?;
    if !stamp.is_current() {
        Builder::of_repository(places, interrupt)?.pe(name, &["-p", name, "--bin", name], linked)?;
        stamp.record()?;
    }
    Ok((path, lock))
}

/// Builds the device model alone, for a run that boots someone else's image.
///
/// # Errors
/// It does not compile; an interrupt.
pub fn device_model(places: &Places, interrupt: &Interrupt) -> Outcome<PathBuf> {
    let _lock = Lock::take(&places.rig().join("build.lock"), "build", interrupt)?;
    let program = Artifacts::of(places).device_model;
    let stamp = Stamp::of(places, "device-model", std::slice::from_ref(&program))?;
    if !stamp.is_current() {
        Host { places, root: &places.root, interrupt }.device_model()?;
        stamp.record()?;
    }
    Ok(program)
}

/// Cargo, for programs of this machine.
struct Host<'a> {
    places: &'a Places,
    /// The workspace that it works in.
    root: &'a Path,
    interrupt: &'a Interrupt,
}

impl Host<'_> {
    fn device_model(&self) -> Outcome<()> {
        self.program("the device model", "device-model")
    }

    /// The program that is named like its crate.
    fn program(&self, what: &str, name: &str) -> Outcome<()> {
        let tool = self.cargo("build").args(["-p", name, "--bin", name, "--target-dir"]).args([&self.places.target]);
        self.run(what, tool)
    }

    fn cargo(&self, command: &str) -> Tool {
        let mut tool = Tool::new(cargo(), DEADLINE).args([command, "--quiet"]).inside(self.root);
        // Flags that the user set for host programs do not fit what runs inside a guest.
        for variable in
            ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS", "CARGO_BUILD_TARGET", "CARGO_TARGET_DIR"]
        {
            tool = tool.without_env(variable);
        }
        tool
    }

    fn run(&self, name: &str, tool: Tool) -> Outcome<()> {
        let step = Step::begin(format!("building {name}"));
        self.run_quietly(name, tool)?;
        step.done("");
        Ok(())
    }

    fn run_quietly(&self, name: &str, tool: Tool) -> Outcome<()> {
        let what = format!("{name} does not build");
        let status = tool.pass_through(self.interrupt).map_err(|error| error.problem(&what, "try `cargo build` yourself"))?;
        if status.success() {
            return Ok(());
        }
        note("");
        Err(Problem::failed(what).because("cargo's messages are above").so("correct the source, then start again"))
    }
}

/// Cargo and the linker, for what runs inside a guest.
struct Builder<'a> {
    host: Host<'a>,
    toolchain: Toolchain,
    source: StdSource,
    names: SourceNames,
}

impl<'a> Builder<'a> {
    fn of_repository(places: &'a Places, interrupt: &'a Interrupt) -> Outcome<Self> {
        Self::of(Host { places, root: &places.root, interrupt }, SourceNames::of(places))
    }

    fn of_project(project: &'a Project, places: &'a Places, interrupt: &'a Interrupt) -> Outcome<Self> {
        let names = SourceNames::of(places).with_project(&project.root, project.driver());
        Self::of(Host { places, root: &project.root, interrupt }, names)
    }

    fn of(host: Host<'a>, names: SourceNames) -> Outcome<Self> {
        let toolchain = Toolchain::find(host.places, host.interrupt)?;
        let source = toolchain.fetch_std_source(host.places, host.interrupt)?;
        names::link_library(host.places, source.path())?;
        names.write_compiler(host.places, host.root)?;
        Ok(Self { host, toolchain, source, names })
    }

    /// Where PE files come to lie.
    fn windows(&self) -> PathBuf {
        self.host.places.guest_target().join(WINDOWS).join("guest")
    }

    /// A driver. Cargo makes a library of objects, which is linked here and not by rustc: rustc names folders of this machine to the linker,
    /// which writes them into the symbols.
    fn driver(&self, service: &str, crate_name: &str) -> Outcome<()> {
        let name = format!("{service}.sys");
        let step = Step::begin(format!("building {name}"));
        let what = ["-p", crate_name, "--lib", "--crate-type", "staticlib"];
        self.host.run_quietly(&name, self.guest_cargo("rustc", &what, WINDOWS))?;
        self.host.run_quietly(&name, self.linker(service))?;
        step.done("");
        Ok(())
    }

    fn linker(&self, service: &str) -> Tool {
        let program = self.toolchain.rust_lld();
        let (folder, name) = (program.parent().unwrap_or(Path::new("")), program.file_name().unwrap_or_default());
        // By its name, not its path: what it was called is in the symbols too.
        Tool::new(name, DEADLINE)
            .inside(&self.windows())
            .env("PATH", folder)
            .args(["-flavor", "link"])
            .args(link::driver_arguments(service))
    }

    /// A program: a PE file that rustc links, with the toolchain's own linker.
    fn pe(&self, name: &str, what: &[&str], linked: Linked) -> Outcome<()> {
        let tool = self.guest_cargo("rustc", what, WINDOWS).args(["--"]).args(linked.rustc_arguments());
        self.host.run(name, tool)
    }

    /// The guest's kernel.
    fn image(&self) -> Outcome<()> {
        self.host.run("the ntlet image", self.guest_cargo("build", &["-p", "metal", "--bin", "ntlet"], BARE))
    }

    fn package(&self, describe: impl FnOnce(i64) -> Inf, folder: &Path) -> Outcome<Vec<PathBuf>> {
        package::assemble(describe, &self.windows(), &self.names, &self.host.places.setup, folder)
    }

    /// The driver of a project, in its signed package.
    fn project_package(&self, project: &Project) -> Outcome<Vec<PathBuf>> {
        let service = project.service();
        self.driver(service, project.driver())?;
        self.package(|date| project.inf(date), &self.host.places.rig().join(format!("package-{service}")))
    }

    /// Cargo for something that runs inside a guest.
    fn guest_cargo(&self, command: &str, what: &[&str], target: &str) -> Tool {
        let tool = self.host.cargo(command).args(what);
        let settings = if target == WINDOWS {
            GuestCargo::windows(self.host.places, &self.names)
        } else {
            GuestCargo::bare(self.host.places, &self.source)
        };
        settings.environment.iter().fold(tool.args(settings.arguments), |tool, (name, value)| tool.env(name, value))
    }
}

/// What cargo needs for something that runs inside a guest.
#[derive(Clone, Debug)]
pub struct GuestCargo {
    /// Arguments behind the command and what is to be built.
    pub arguments: Vec<OsString>,
    /// Variables.
    pub environment: Vec<(&'static str, OsString)>,
}

impl GuestCargo {
    /// For what this repository builds, for tests that build it in another way: for Windows or ntlet's machine, with the standard library that
    /// has its source in the folder `library`.
    ///
    /// # Errors
    /// The disk's.
    pub fn of(places: &Places, target: &str, library: &Path) -> Outcome<Self> {
        if target == BARE {
            return Ok(Self::bare(places, &StdSource::Toolchain(library.to_path_buf())));
        }
        names::link_library(places, library)?;
        let names = SourceNames::of(places);
        names.write_compiler(places, &places.root)?;
        Ok(Self::windows(places, &names))
    }

    fn windows(places: &Places, names: &SourceNames) -> Self {
        let mut settings = Self::for_target(places, WINDOWS);
        settings.environment.push(("RUSTC_WRAPPER", names.compiler(places).into_os_string()));
        settings.environment.push((SOURCE_VARIABLE, names::library(places).into_os_string()));
        settings.environment.push(("CARGO_TARGET_X86_64_PC_WINDOWS_MSVC_LINKER", "rust-lld".into()));
        settings
    }

    fn bare(places: &Places, source: &StdSource) -> Self {
        let mut settings = Self::for_target(places, BARE);
        if let StdSource::Setup(library) = source {
            settings.environment.push((SOURCE_VARIABLE, library.into()));
        }
        settings
    }

    /// `core` and `alloc` are built from source, which a stable toolchain does when `RUSTC_BOOTSTRAP` says so.
    fn for_target(places: &Places, target: &str) -> Self {
        let words = ["--profile", "guest", "--target", target, "-Z", "build-std=core,alloc,compiler_builtins"];
        let more = ["-Z", "build-std-features=compiler-builtins-mem", "--target-dir"];
        let arguments = words.into_iter().chain(more).map(OsString::from).chain([places.guest_target().into_os_string()]);
        Self { arguments: arguments.collect(), environment: vec![("RUSTC_BOOTSTRAP", "1".into())] }
    }
}

/// Reads a built file.
///
/// # Errors
/// The disk's.
pub fn read(path: &Path) -> Outcome<Vec<u8>> {
    fs::read(path).at("read", path)
}
