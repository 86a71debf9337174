//! Building what a run boots: the drivers, suite.exe, the ntlet image, the device model, and the driver package.
//!
//! Cargo does the building. When none of the sources has changed since the last time, cargo is not even asked (see [`stamp`]),
//! because asking it about five artifacts costs more than booting the guest.

pub mod link;
pub mod package;
pub mod stamp;
pub mod stranger;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::console::{Step, note};
use crate::error::{AtPath as _, Outcome, Problem};
use crate::files::Lock;
use crate::interrupt::Interrupt;
use crate::places::Places;
use crate::project::Project;
use crate::setup::toolchain::{SOURCE_VARIABLE, StdSource, Toolchain, cargo};
use crate::tool::Tool;
use link::Linked;
use stamp::Stamp;

/// Longest time for one artifact. The first one also builds `core` and `alloc`.
const DEADLINE: Duration = Duration::from_secs(20 * 60);
/// What a Windows kernel driver or a native program is built for.
const WINDOWS: &str = "x86_64-pc-windows-msvc";
/// What the guest's kernel is built for.
const BARE: &str = "x86_64-unknown-none";

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
    let toolchain = Toolchain::find(places, interrupt)?;
    let source = toolchain.fetch_std_source(places, interrupt)?;
    let builder = Builder { places, root: &places.root, source, interrupt };
    let windows = places.guest_target().join(WINDOWS).join("guest");
    builder.driver("relay.sys", "relay")?;
    builder.driver("relayflt.sys", "relay-filter")?;
    builder.driver(PROBE, "probe")?;
    builder.pe("suite.exe", &["-p", "suites", "--bin", "suite"], Linked::Program { entry: "suite_start" })?;
    builder.image()?;
    builder.device_model()?;
    package::assemble(package::relay, &windows, &places.setup, &artifacts.package)?;
    // The sources may have changed while cargo read them; the stamp was taken before, so the next run looks again.
    stamp.record()?;
    Ok((artifacts, lock))
}

/// Builds and signs the driver package alone; its files, and a lock that keeps other builds away until the caller has read them.
///
/// # Errors
/// The driver does not compile; the standard library's source cannot be had; the package breaks the rules; an interrupt.
pub fn driver_package(places: &Places, interrupt: &Interrupt) -> Outcome<(Vec<PathBuf>, Lock)> {
    let lock = Lock::take(&places.rig().join("build.lock"), "build", interrupt)?;
    let source = Toolchain::find(places, interrupt)?.fetch_std_source(places, interrupt)?;
    let builder = Builder { places, root: &places.root, source, interrupt };
    let windows = places.guest_target().join(WINDOWS).join("guest");
    builder.driver("relay.sys", "relay")?;
    builder.driver("relayflt.sys", "relay-filter")?;
    let files = package::assemble(package::relay, &windows, &places.setup, &places.package())?;
    Ok((files, lock))
}

/// Builds and signs the driver package of a project; else as [`driver_package()`].
///
/// # Errors
/// As [`driver_package()`].
pub fn project_package(project: &Project, places: &Places, interrupt: &Interrupt) -> Outcome<(Vec<PathBuf>, Lock)> {
    let lock = Lock::take(&places.rig().join("build.lock"), "build", interrupt)?;
    let source = Toolchain::find(places, interrupt)?.fetch_std_source(places, interrupt)?;
    let files = Builder { places, root: &project.root, source, interrupt }.project_package(project)?;
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
    let source = Toolchain::find(places, interrupt)?.fetch_std_source(places, interrupt)?;
    let builder = Builder { places, root: &project.root, source, interrupt };
    let (suite, model) = (project.suite(), project.model());
    builder.pe("the suite", &["-p", suite, "--bin", suite], Linked::Program { entry: "suite_start" })?;
    builder.host_program("the device model", model)?;
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
        let source = Toolchain::find(places, interrupt)?.fetch_std_source(places, interrupt)?;
        Builder { places, root: &places.root, source, interrupt }.pe(name, &["-p", name, "--bin", name], linked)?;
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
        let source = StdSource::Toolchain(PathBuf::new());
        Builder { places, root: &places.root, source, interrupt }.device_model()?;
        stamp.record()?;
    }
    Ok(program)
}

/// Cargo, as the builds need it.
struct Builder<'a> {
    places: &'a Places,
    /// The workspace that it works in.
    root: &'a Path,
    source: StdSource,
    interrupt: &'a Interrupt,
}

impl Builder<'_> {
    /// A driver, which cargo makes as a library.
    fn driver(&self, name: &str, crate_name: &str) -> Outcome<()> {
        let what = ["-p", crate_name, "--lib", "--crate-type", "cdylib"];
        self.pe(name, &what, Linked::Driver { entry: "FxDriverEntry" })
    }

    /// A driver or a native program: a PE file made by the toolchain's own linker.
    fn pe(&self, name: &str, what: &[&str], linked: Linked) -> Outcome<()> {
        let tool = self.guest_cargo("rustc", what, WINDOWS).args(["--"]).args(linked.rustc_arguments());
        self.run(name, tool)
    }

    /// The guest's kernel.
    fn image(&self) -> Outcome<()> {
        self.run("the ntlet image", self.guest_cargo("build", &["-p", "metal", "--bin", "ntlet"], BARE))
    }

    fn device_model(&self) -> Outcome<()> {
        self.host_program("the device model", "device-model")
    }

    /// A program of this machine: the one that is named like its crate.
    fn host_program(&self, what: &str, name: &str) -> Outcome<()> {
        let tool = self.cargo("build").args(["-p", name, "--bin", name, "--target-dir"]).args([&self.places.target]);
        self.run(what, tool)
    }

    /// The driver of a project, in its signed package.
    fn project_package(&self, project: &Project) -> Outcome<Vec<PathBuf>> {
        let service = project.service();
        self.driver(&format!("{service}.sys"), project.driver())?;
        let windows = self.places.guest_target().join(WINDOWS).join("guest");
        let folder = self.places.rig().join(format!("package-{service}"));
        package::assemble(|date| project.inf(date), &windows, &self.places.setup, &folder)
    }

    /// Cargo for something that runs inside a guest. `core` and `alloc` are built from source, which a stable toolchain does
    /// when `RUSTC_BOOTSTRAP` says so.
    fn guest_cargo(&self, command: &str, what: &[&str], target: &str) -> Tool {
        let tool = self
            .cargo(command)
            .args(what)
            .args(["--profile", "guest", "--target", target])
            .args(["-Z", "build-std=core,alloc,compiler_builtins", "-Z", "build-std-features=compiler-builtins-mem"])
            .args(["--target-dir".as_ref(), self.places.guest_target().as_os_str()])
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_TARGET_X86_64_PC_WINDOWS_MSVC_LINKER", "rust-lld");
        match &self.source {
            StdSource::Toolchain(_) => tool,
            StdSource::Setup(library) => tool.env(SOURCE_VARIABLE, library),
        }
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
        let what = format!("{name} does not build");
        let status = tool.pass_through(self.interrupt).map_err(|error| error.problem(&what, "try `cargo build` yourself"))?;
        if status.success() {
            step.done("");
            return Ok(());
        }
        note("");
        Err(Problem::failed(what).because("cargo's messages are above").so("correct the source, then start again"))
    }
}

/// Reads a built file.
///
/// # Errors
/// The disk's.
pub fn read(path: &Path) -> Outcome<Vec<u8>> {
    fs::read(path).at("read", path)
}
