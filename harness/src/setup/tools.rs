//! Other people's tools that some tests and commands need: a signature checker, a C compiler and linkers, a debugger, makers of
//! disk images, a browser, Wine. `rig run` needs none of them.
//!
//! A tool on PATH is used if it is new enough. Else it is fetched with everything it depends on: tools that share most of their
//! packages are one `Set`, one APT transaction and one folder of the set-up folder, `tools-llvm` for instance, in which a
//! script of the tool's name starts it. How it is started, the table says.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Workshop;
use super::apt::{Apt, Suites, digests};
use super::qemu::{Origin, is_program, on_path};
use crate::console::Step;
use crate::error::{AtPath as _, Exit, Outcome, Problem};
use crate::files::write_whole;
use crate::interrupt::Interrupt;
use crate::places::Places;
use crate::tool::{Tool as Call, ToolError, complaint};

const MANIFEST: &str = "manifest.json";
const ANSWER: Duration = Duration::from_secs(30);
/// What nobody needs of any package.
const NEEDLESS: [&str; 5] = ["usr/share/doc", "usr/share/man", "usr/share/locale", "var", "etc"];

/// A tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// Checks and makes Authenticode signatures.
    Osslsigncode,
    /// The C compiler; with its own headers, without a C library's. It compiles one file at a call (`-c`): the fetched one cannot
    /// start itself a second time.
    Clang,
    /// The linker for ELF files.
    LdLld,
    /// The linker for PE files.
    LldLink,
    /// The debugger, with Python.
    Lldb,
    /// FAT file systems: `mtools -c mformat …`, `mtools -c mcopy …`.
    Mtools,
    /// Windows' disk images.
    WimlibImagex,
    /// Discs, with ISO 9660 and UDF.
    Genisoimage,
    /// The browser, without a window. As root it needs `--no-sandbox`.
    Chromium,
    /// Runs Windows' programs: those that need no more of Windows than kernel, files and serial lines.
    Wine,
    /// Stands behind every program that Wine runs in a prefix, and ends them.
    Wineserver,
}

/// Every tool, and thus all that tests need.
pub const ALL: [Tool; 11] = [
    Tool::Osslsigncode,
    Tool::Clang,
    Tool::LdLld,
    Tool::LldLink,
    Tool::Lldb,
    Tool::Mtools,
    Tool::WimlibImagex,
    Tool::Genisoimage,
    Tool::Chromium,
    Tool::Wine,
    Tool::Wineserver,
];

/// Tools that are fetched together.
#[derive(Debug, PartialEq, Eq)]
struct Set {
    name: &'static str,
    packages: &'static [&'static str],
    /// Without what they depend on beyond that.
    alone: bool,
    suites: Suites,
    size: &'static str,
    /// Folders of what was unpacked that the tools do without.
    needless: &'static [&'static str],
}

static LLVM: Set = Set {
    name: "llvm",
    packages: &["clang", "lld", "lldb"],
    alone: false,
    suites: Suites::Stable,
    size: "112 MB",
    needless: &["usr/include", "usr/lib/gcc", "usr/lib/linux", "usr/lib/llvm-19/lib/clang/19/lib"],
};
static IMAGES: Set = Set {
    name: "images",
    packages: &["osslsigncode", "mtools", "wimtools", "genisoimage"],
    alone: false,
    suites: Suites::Stable,
    size: "7 MB",
    needless: &["usr/include"],
};
/// A browser starts itself again through `/proc/self/exe` and looks there for its files: no loader may stand between, so it comes
/// from the machine's own release and uses the machine's own C library.
static BROWSER: Set = Set {
    name: "browser",
    packages: &["chromium-headless-shell"],
    alone: false,
    suites: Suites::OfThisMachine,
    size: "160 MB",
    needless: &["usr/include"],
};
/// Wine starts itself again, too. Most of what it depends on is sound, printers, cameras, which none of our programs has.
static WINE: Set = Set {
    name: "wine",
    packages: &["wine64", "libwine", "libunwind8", "liblzma5", "libz-mingw-w64"],
    alone: true,
    suites: Suites::OfThisMachine,
    size: "101 MB",
    needless: &["usr/lib/x86_64-linux-gnu/wine/i386-windows", "usr/i686-w64-mingw32", "usr/share/wine/fonts"],
};
/// How the packages of the machine's own C library begin. Beside another loader it would not run.
const C_LIBRARY: &str = "libc6_";

impl Tool {
    /// The program's name, on PATH and in its folder.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Osslsigncode => "osslsigncode",
            Self::Clang => "clang",
            Self::LdLld => "ld.lld",
            Self::LldLink => "lld-link",
            Self::Lldb => "lldb",
            Self::Mtools => "mtools",
            Self::WimlibImagex => "wimlib-imagex",
            Self::Genisoimage => "genisoimage",
            Self::Chromium => "chromium",
            Self::Wine => "wine",
            Self::Wineserver => "wineserver",
        }
    }

    /// The oldest major version that will do.
    const fn oldest(self) -> u32 {
        match self {
            Self::Osslsigncode => 2,
            Self::Clang | Self::LdLld | Self::LldLink => 14,
            // Older ones lose variables and types of PDBs.
            Self::Lldb => 19,
            Self::Mtools => 4,
            Self::WimlibImagex | Self::Genisoimage => 1,
            Self::Chromium => 110,
            Self::Wine | Self::Wineserver => 8,
        }
    }

    const fn set(self) -> &'static Set {
        match self {
            Self::Clang | Self::LdLld | Self::LldLink | Self::Lldb => &LLVM,
            Self::Osslsigncode | Self::Mtools | Self::WimlibImagex | Self::Genisoimage => &IMAGES,
            Self::Chromium => &BROWSER,
            Self::Wine | Self::Wineserver => &WINE,
        }
    }

    /// The script that starts the unpacked tool. It becomes the tool by `exec`.
    fn launcher(self) -> String {
        let (environment, options) = match self {
            // Both look for their files beside `/proc/self/exe`, which is the loader.
            Self::Clang => ("", r#" -resource-dir "$root/usr/lib/llvm-19/lib/clang/19" -B"$here""#),
            Self::Lldb => ("export PYTHONHOME=\"$root/usr\"\n", ""),
            _ => ("", ""),
        };
        let start = match self {
            Self::Chromium => concat!(
                "export LD_LIBRARY_PATH=\"$libraries:$libraries/pulseaudio\" FONTCONFIG_FILE=\"$here/fonts.conf\"\n",
                "exec \"$root/usr/lib/chromium/chromium-headless-shell\" \"$@\"\n"
            )
            .to_owned(),
            Self::Wine | Self::Wineserver => format!(
                "export LD_LIBRARY_PATH=\"$libraries\" WINEDLLPATH=\"$libraries/wine\"\n\
                 export WINELOADER=\"$root/usr/lib/wine/wine64\" WINESERVER=\"$root/usr/lib/wine/wineserver\"\n\
                 exec \"{}\" \"$@\"\n",
                if self == Self::Wine { "$WINELOADER" } else { "$WINESERVER" }
            ),
            _ => format!(
                "exec \"$root/usr/lib64/ld-linux-x86-64.so.2\" --library-path \"$libraries\" \"$root/usr/bin/{}\"{options} \"$@\"\n",
                self.name()
            ),
        };
        format!(
            "#!/bin/sh\nhere=$(cd \"${{0%/*}}\" && pwd) || exit 127\nroot=$here/root\n\
             libraries=$root/usr/lib/x86_64-linux-gnu\n{environment}{start}"
        )
    }
}

/// Names the unpacked fonts to the browser, beside the machine's.
const FONTS: &str = r#"<?xml version="1.0"?>
<fontconfig><dir prefix="relative">root/usr/share/fonts</dir><dir>/usr/share/fonts</dir></fontconfig>
"#;

/// A tool that will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The program.
    pub program: PathBuf,
    /// Its version, `19.1.7`.
    pub version: String,
    /// Where it comes from.
    pub origin: Origin,
}

/// What was fetched.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    versions: Vec<(String, String)>,
    packages: Vec<(String, String)>,
}

/// Finds a tool without fetching anything: on PATH, else in the set-up folder.
///
/// # Errors
/// An interrupt.
pub fn find(tool: Tool, places: &Places, interrupt: &Interrupt) -> Outcome<Option<Found>> {
    if let Some(program) = on_path(tool.name()) {
        match ask_version(tool, &program, interrupt) {
            Ok(version) => return Ok(Some(Found { program, version, origin: Origin::Path })),
            Err(Refusal::Interrupted(signal)) => return Err(Problem::interrupted(signal)),
            Err(Refusal::Because(_)) => {}
        }
    }
    Ok(fetched(tool, places))
}

/// Finds a tool or fetches it, with the others of its set.
///
/// # Errors
/// As [`find`]; a broken environment when it cannot be fetched.
pub fn find_or_fetch(tool: Tool, places: &Places, interrupt: &Interrupt) -> Outcome<Found> {
    if let Some(found) = find(tool, places, interrupt)? {
        return Ok(found);
    }
    let workshop = Workshop::enter(places, interrupt)?;
    if let Some(found) = fetched(tool, places) {
        return Ok(found);
    }
    let set = tool.set();
    fetch(set, &workshop, interrupt).map_err(|problem| {
        if problem.exit() != Exit::Environment {
            return problem;
        }
        Problem::environment(format!("no {} of version {} or newer, and none can be fetched", tool.name(), tool.oldest()))
            .because(format!("{}: {}", problem.what(), problem.why()))
            .so(format!("check the network, or install {} so that it is on PATH, then start again", tool.name()))
    })?;
    fetched(tool, places).ok_or_else(|| {
        Problem::environment(format!("the fetched {} is not complete", tool.name())).so("remove the set-up folder, start again")
    })
}

/// Finds or fetches every tool, and tells the folders that tests need to know, for [`test_tools::VARIABLE`].
///
/// # Errors
/// As [`find_or_fetch`].
pub fn for_tests(places: &Places, interrupt: &Interrupt) -> Outcome<std::ffi::OsString> {
    let mut folders: Vec<PathBuf> = Vec::new();
    for tool in ALL {
        let found = find_or_fetch(tool, places, interrupt)?;
        let folder = found.program.parent().map(Path::to_path_buf).filter(|folder| !folders.contains(folder));
        // Folders of PATH stay where they are in the order of PATH.
        folders.extend(folder.filter(|_| found.origin == Origin::Setup));
    }
    std::env::join_paths(&folders).map_err(|error| {
        Problem::environment("the tools' folders cannot be named in a variable")
            .because(error.to_string())
            .so("use --setup-dir with a folder that has no colon in its path")
    })
}

/// The one in the set-up folder, if its set is complete.
fn fetched(tool: Tool, places: &Places) -> Option<Found> {
    let folder = places.setup.join(folder_of(tool.set()));
    let manifest: Manifest = serde_json::from_slice(&fs::read(folder.join(MANIFEST)).ok()?).ok()?;
    let (_, version) = manifest.versions.into_iter().find(|(name, _)| name == tool.name())?;
    let program = folder.join(tool.name());
    is_program(&program).then_some(Found { program, version, origin: Origin::Setup })
}

fn folder_of(set: &Set) -> String {
    format!("{}{}", test_tools::FOLDER, set.name)
}

fn fetch(set: &Set, workshop: &Workshop<'_>, interrupt: &Interrupt) -> Outcome<()> {
    let step = Step::begin(format!("fetching {} and what they need (about {})", set.packages.join(", "), set.size));
    let name = folder_of(set);
    let unfinished = workshop.begin(&name)?;
    let apt = Apt::prepare(&unfinished.join("apt"), set.suites, interrupt)?;
    let mut packages = if set.alone {
        set.packages.iter().map(|package| apt.download(package, interrupt)).collect::<Outcome<Vec<_>>>()?
    } else {
        apt.download_all(set.packages, interrupt)?
    };
    let digests = digests(&packages)?;
    if set.suites == Suites::OfThisMachine {
        packages.retain(|path| !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(C_LIBRARY)));
    }
    let root = unfinished.join("root");
    for package in &packages {
        apt.unpack(package, &root, interrupt)?;
    }
    let needless = NEEDLESS.iter().chain(set.needless).map(|needless| root.join(needless));
    for path in needless.chain([unfinished.join("apt")]).filter(|path| path.exists()) {
        fs::remove_dir_all(&path).at("remove", &path)?;
    }
    let mut versions = Vec::new();
    for tool in ALL.into_iter().filter(|tool| tool.set() == set) {
        versions.push((tool.name().to_owned(), install(tool, &unfinished, interrupt)?));
    }
    let detail = versions.iter().map(|(name, version)| format!("{name} {version}")).collect::<Vec<_>>().join(", ");
    let manifest = serde_json::to_vec_pretty(&Manifest { versions, packages: digests })
        .map_err(|error| Problem::environment("what was fetched cannot be noted").because(error.to_string()))?;
    let path = unfinished.join(MANIFEST);
    write_whole(&path, &manifest).at("write", &path)?;
    workshop.finish(&name)?;
    step.done(&detail);
    Ok(())
}

/// Writes what starts the tool, tries it, and returns its version.
fn install(tool: Tool, folder: &Path, interrupt: &Interrupt) -> Outcome<String> {
    if tool == Tool::Chromium {
        let fonts = folder.join("fonts.conf");
        fs::write(&fonts, FONTS).at("write", &fonts)?;
    }
    if tool == Tool::Wine {
        put_wine_together(&folder.join("root"))?;
    }
    let program = folder.join(tool.name());
    fs::write(&program, tool.launcher()).at("write", &program)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).at("make executable", &program)?;
    ask_version(tool, &program, interrupt).map_err(|refusal| match refusal {
        Refusal::Interrupted(signal) => Problem::interrupted(signal),
        Refusal::Because(why) => {
            Problem::environment(format!("the fetched {} does not run here", tool.name())).because(why).so("install it yourself")
        }
    })
}

/// What an installation of Wine's packages does: a library of another package is put where Wine looks. And its server is started directly,
/// not by a script that knows where it would be installed.
fn put_wine_together(root: &Path) -> Outcome<()> {
    let library = root.join("usr/lib/x86_64-linux-gnu/wine/x86_64-windows/zlib1.dll");
    let from = root.join("usr/x86_64-w64-mingw32/lib/zlib1.dll");
    // Not every release's Wine wants it.
    if from.is_file() {
        fs::copy(&from, &library).at("copy", &from)?;
    }
    let server = root.join("usr/lib/wine/wineserver64");
    if server.is_file() {
        fs::rename(&server, server.with_file_name("wineserver")).at("rename", &server)?;
    }
    Ok(())
}

/// Why a program is not the tool.
#[derive(Debug)]
enum Refusal {
    Interrupted(u8),
    Because(String),
}

/// Asks a program for its version, and refuses what is too old.
fn ask_version(tool: Tool, program: &Path, interrupt: &Interrupt) -> Result<String, Refusal> {
    let finished = match Call::new(program, ANSWER).args(["--version"]).capture(interrupt) {
        Ok(finished) if finished.status.success() => finished,
        Ok(finished) => return Err(Refusal::Because(format!("`--version` failed: {}", complaint(&finished)))),
        Err(ToolError::Interrupted(signal)) => return Err(Refusal::Interrupted(signal)),
        Err(error) => return Err(Refusal::Because(error.to_string())),
    };
    new_enough(tool, &[finished.stdout, finished.stderr].concat()).map_err(Refusal::Because)
}

/// The version in what a tool said, or why it will not do.
fn new_enough(tool: Tool, said: &str) -> Result<String, String> {
    let version = version_in(said).ok_or("`--version` tells no version")?;
    match version.split('.').next().and_then(|major| major.parse::<u32>().ok()) {
        Some(major) if major >= tool.oldest() => Ok(version.to_owned()),
        _ => Err(format!("it is version {version}, and {} is the oldest that will do", tool.oldest())),
    }
}

/// The first number with a point in it, `19.1.7`.
fn version_in(text: &str) -> Option<&str> {
    let mut words = text.split(|c: char| !c.is_ascii_digit() && c != '.').map(|word| word.trim_matches('.'));
    words.find(|word| word.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_from_any_tools_words() {
        for (text, version) in [
            ("Debian clang version 19.1.7 (3+b1)\nTarget: x86_64-pc-linux-gnu", "19.1.7"),
            ("Debian LLD 14.0.6 (compatible with GNU linkers)", "14.0.6"),
            ("osslsigncode 2.9, using:\n\tOpenSSL 3.5.1", "2.9"),
            ("mtools (GNU mtools) 4.0.48", "4.0.48"),
            ("Chromium 150.0.7871.100 built on Debian", "150.0.7871.100"),
        ] {
            assert_eq!(version_in(text), Some(version));
        }
        assert_eq!(version_in("usage: tool [file ...]"), None);
    }

    #[test]
    fn a_program_that_is_too_old_or_says_nothing_is_refused() {
        assert_eq!(new_enough(Tool::Lldb, "lldb version 19.1.7"), Ok("19.1.7".to_owned()));
        assert!(new_enough(Tool::Lldb, "lldb version 14.0.6").unwrap_err().contains("it is version 14.0.6"));
        assert!(new_enough(Tool::Lldb, "hello").unwrap_err().contains("tells no version"));
    }

    #[test]
    fn an_unfinished_folder_has_no_tools() {
        let folder = tempfile::tempdir().unwrap();
        let places = Places { root: "/".into(), target: "/".into(), setup: folder.path().into() };
        let unpacked = folder.path().join("tools-llvm");
        fs::create_dir_all(&unpacked).unwrap();
        fs::write(unpacked.join("lldb"), Tool::Lldb.launcher()).unwrap();
        assert!(fetched(Tool::Lldb, &places).is_none());
    }
}
