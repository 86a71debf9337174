//! The Rust toolchain, and the source of its standard library, from which `core` and `alloc` are built for the guests.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Workshop;
use super::apt::{Apt, Suites};
use crate::console::{Step, note};
use crate::error::{AtPath as _, Outcome, Problem};
use crate::interrupt::Interrupt;
use crate::places::Places;
use crate::tool::{Tool, complaint, output_of};

const REMEDY: &str = "install the Rust toolchain that rust-toolchain.toml names (rustup does so by itself)";
const QUICK: Duration = Duration::from_secs(60);
const FETCH: Duration = Duration::from_secs(5 * 60);
/// Tells cargo to build the standard library from another folder than the toolchain's. Cargo's own tests use it; nothing else
/// does the same without writing into the toolchain.
pub const SOURCE_VARIABLE: &str = "__CARGO_TESTS_ONLY_SRC_ROOT";
/// Where Debian's `rust-src` has the library, below `usr/src/rustc-<version>`.
const PACKAGE: &str = "rust-src";

/// The toolchain that builds everything.
#[derive(Clone, Debug)]
pub struct Toolchain {
    /// `1.95.0`.
    pub release: String,
    /// The first line of `rustc --version`.
    pub version: String,
    /// Its folder.
    pub sysroot: PathBuf,
    /// The machine it runs on, `x86_64-unknown-linux-gnu`.
    pub host: String,
}

/// Where the source of the standard library is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StdSource {
    /// Where cargo looks by itself.
    Toolchain(PathBuf),
    /// In a folder that cargo must be told.
    Setup(PathBuf),
}

impl StdSource {
    /// The folder `library`.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Toolchain(path) | Self::Setup(path) => path,
        }
    }
}

/// Name of cargo as this process should call it: the one that started it, if one did.
#[must_use]
pub fn cargo() -> PathBuf {
    std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}

impl Toolchain {
    /// Asks `rustc`.
    ///
    /// # Errors
    /// A broken environment when there is none.
    pub fn find(places: &Places, interrupt: &Interrupt) -> Outcome<Self> {
        let rustc = cargo().with_file_name("rustc");
        let ask = |arguments: &[&str]| {
            let tool = Tool::new(&rustc, QUICK).args(arguments).inside(&places.root);
            output_of(tool, "the Rust compiler gives no answer", REMEDY, interrupt)
        };
        let answer = ask(&["-vV"])?;
        let sysroot = ask(&["--print", "sysroot"])?.lines().next().map(PathBuf::from);
        let field = |name: &str| answer.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).map(str::to_owned);
        let version = answer.lines().find(|line| line.starts_with("rustc ")).map(str::to_owned);
        match (version, field("release:"), field("host:"), sysroot) {
            (Some(version), Some(release), Some(host), Some(sysroot)) => Ok(Self { release, version, sysroot, host }),
            _ => Err(Problem::environment("the Rust compiler's answer is not understood").because(answer).so(REMEDY)),
        }
    }

    /// The linker for PE files and the guest image, which comes with the toolchain.
    #[must_use]
    pub fn rust_lld(&self) -> PathBuf {
        self.sysroot.join("lib/rustlib").join(&self.host).join("bin/rust-lld")
    }

    /// The source of the standard library, if it is there already.
    #[must_use]
    pub fn std_source(&self, places: &Places) -> Option<StdSource> {
        let own = self.sysroot.join("lib/rustlib/src/rust/library");
        if own.join("Cargo.lock").is_file() {
            return Some(StdSource::Toolchain(own));
        }
        let fetched = places.setup.join(self.folder_name()).join("library");
        fetched.join("Cargo.lock").is_file().then_some(StdSource::Setup(fetched))
    }

    /// The source of the standard library, fetched if need be: through rustup, else the distribution's package of exactly
    /// this version.
    ///
    /// # Errors
    /// A broken environment when neither has it.
    pub fn fetch_std_source(&self, places: &Places, interrupt: &Interrupt) -> Outcome<StdSource> {
        if let Some(source) = self.std_source(places) {
            return Ok(source);
        }
        let workshop = Workshop::enter(places, interrupt)?;
        if let Some(source) = self.std_source(places) {
            return Ok(source);
        }
        let refusal = self.add_component(places, interrupt)?;
        if let Some(source) = self.std_source(places) {
            return Ok(source);
        }
        note(format!("[rig] rustup has no rust-src for us ({}); trying the distribution's package", one_line(&refusal)));
        self.unpack_package(&workshop, interrupt).map_err(|problem| {
            if matches!(problem.exit(), crate::error::Exit::Interrupted(_)) {
                return problem;
            }
            Problem::environment(format!("the source of the standard library of Rust {} cannot be had", self.release))
                .because(format!("rustup: {refusal}\npackage: {}: {}", problem.what(), problem.why()))
                .so("run `rustup component add rust-src` where there is a network, then start again")
        })?;
        self.std_source(places).ok_or_else(|| {
            Problem::environment("the distribution's rust-src has no library folder").so("run `rustup component add rust-src`")
        })
    }

    /// Returns why it failed; empty when it did not.
    fn add_component(&self, places: &Places, interrupt: &Interrupt) -> Outcome<String> {
        let step = Step::begin("fetching the standard library's source through rustup");
        let tool = Tool::new("rustup", FETCH)
            .args(["component", "add", "rust-src", "--toolchain", &self.rustup_name()])
            .inside(&places.root);
        match tool.capture(interrupt) {
            Ok(finished) if finished.status.success() => {
                step.done("");
                Ok(String::new())
            }
            Ok(finished) => Ok(complaint(&finished)),
            Err(crate::tool::ToolError::Interrupted(signal)) => Err(Problem::interrupted(signal)),
            Err(error) => Ok(error.to_string()),
        }
    }

    /// What rustup calls this toolchain: the folder that cargo runs from.
    fn rustup_name(&self) -> String {
        std::env::var("RUSTUP_TOOLCHAIN").unwrap_or_else(|_| format!("{}-{}", self.release, self.host))
    }

    fn unpack_package(&self, workshop: &Workshop<'_>, interrupt: &Interrupt) -> Outcome<()> {
        let step = Step::begin(format!("fetching the distribution's {PACKAGE} {}", self.release));
        let name = self.folder_name();
        let unfinished = workshop.begin(&name)?;
        let apt = Apt::prepare(&unfinished.join("apt"), Suites::WithBackports, interrupt)?;
        let version = apt.version_of(PACKAGE, &self.release, interrupt)?;
        let package = apt.download(&format!("{PACKAGE}={version}"), interrupt)?;
        apt.unpack(&package, &unfinished.join("root"), interrupt)?;
        let library = unfinished.join("root/usr/src").join(format!("rustc-{}", self.release)).join("library");
        std::fs::rename(&library, unfinished.join("library")).at("move", &library)?;
        for leftover in ["root", "apt"] {
            let leftover = unfinished.join(leftover);
            std::fs::remove_dir_all(&leftover).at("remove", &leftover)?;
        }
        let place = workshop.finish(&name)?;
        step.done(&format!("{version} in {}", place.display()));
        Ok(())
    }

    fn folder_name(&self) -> String {
        format!("rust-src-{}", self.release)
    }
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("no reason given").to_owned()
}
