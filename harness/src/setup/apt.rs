//! The distribution's package archive, read through a private APT configuration: own state, own cache, own sources; the
//! machine's packages are neither consulted nor changed.
//!
//! Where the archive is, is read from the machine's own APT configuration. APT checks the archive's signature against the
//! distribution's keyring and every file against the signed index; the options that could turn such an error into a warning
//! are forced off, whatever the machine's configuration says.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{AtPath as _, Outcome, Problem};
use crate::files::sha256_of;
use crate::interrupt::Interrupt;
use crate::tool::{Finished, Tool, complaint};

const QUICK: Duration = Duration::from_secs(60);
const FETCH: Duration = Duration::from_secs(15 * 60);
const REMEDY: &str =
    "check the network and the machine's APT sources, then start again; or install it yourself, see `cargo rig doctor`";
/// Where distributions keep the keyring of their archive.
const KEYRINGS: [&str; 2] = ["/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp"];
/// APT architecture of what we fetch; it runs on this machine.
const ARCHITECTURE: &str = "amd64";

/// The archive's suites that are read; versions come from the last one if it has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suites {
    /// The stable release whose programs we start through their own loader, whatever this machine's release is.
    Stable,
    /// That release, and its backports.
    WithBackports,
    /// The release that runs on this machine, for programs that must be started directly.
    OfThisMachine,
}

impl Suites {
    fn names(self, source: &Source) -> Vec<String> {
        match self {
            Self::Stable => vec!["trixie".to_owned()],
            Self::WithBackports => vec!["trixie".to_owned(), "trixie-backports".to_owned()],
            Self::OfThisMachine => vec![source.release.clone()],
        }
    }
}

/// Where packages come from and who vouches for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Address of the archive.
    pub mirror: String,
    /// Keyring that must have signed it.
    pub keyring: PathBuf,
    /// Codename of the release that runs on this machine.
    pub release: String,
}

impl Source {
    /// Reads the machine's APT configuration.
    ///
    /// # Errors
    /// A broken environment when this machine has no such archive.
    pub fn of_this_machine(interrupt: &Interrupt) -> Outcome<Self> {
        let what = "the distribution's package archive cannot be used here";
        if std::env::consts::ARCH != "x86_64" {
            return Err(Problem::environment(what).because(format!("this machine is {}", std::env::consts::ARCH)).so(REMEDY));
        }
        let keyring = KEYRINGS.iter().map(Path::new).find(|keyring| keyring.is_file()).ok_or_else(|| {
            Problem::environment(what).because(format!("no keyring of the archive: {}", KEYRINGS.join(", "))).so(REMEDY)
        })?;
        // Without release information the sources are listed even where no index has ever been downloaded.
        let fields = ["--format", "$(REPO_URI)\t$(RELEASE)\t$(COMPONENT)", "Created-By: Packages"];
        let tool = Tool::new("apt-get", QUICK).args(["indextargets", "--no-release-info"]).args(fields);
        let finished = tool.capture(interrupt).map_err(|error| error.problem(what, REMEDY))?;
        let release = codename(&fs::read_to_string("/etc/os-release").unwrap_or_default());
        let mirror = mirror_among(&finished.stdout, &release).ok_or_else(|| {
            let reason = if finished.status.success() {
                "APT's sources list no main archive of this Debian release".to_owned()
            } else {
                complaint(&finished)
            };
            Problem::environment(what).because(reason).so(REMEDY)
        })?;
        Ok(Self { mirror, keyring: keyring.to_path_buf(), release })
    }
}

/// `VERSION_CODENAME` of a Debian `os-release`; empty for any other distribution.
fn codename(os_release: &str) -> String {
    let field = |name: &str| {
        let value = os_release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        value.unwrap_or_default().trim_matches(['"', '\'']).to_owned()
    };
    if field("ID") == "debian" { field("VERSION_CODENAME") } else { String::new() }
}

/// Picks the main archive of the release among lines of address, release and component.
fn mirror_among(targets: &str, codename: &str) -> Option<String> {
    let rolling = ["stable", "testing", "unstable", "sid"];
    targets.lines().find_map(|line| {
        let mut fields = line.split('\t');
        let (mirror, release, component) = (fields.next()?, fields.next()?, fields.next()?);
        let ours = !codename.is_empty() && (release == codename || rolling.contains(&release));
        let plain = !mirror.is_empty() && !mirror.starts_with("cdrom:") && !mirror.contains(['@', ' ', '[', '\'', '"']);
        (ours && component == "main" && plain).then(|| mirror.to_owned())
    })
}

/// A private APT with up-to-date lists.
#[derive(Debug)]
pub struct Apt {
    folder: PathBuf,
    configuration: PathBuf,
    last_suite: String,
}

impl Apt {
    /// Sets one up in `folder` and reads the archive's index.
    ///
    /// # Errors
    /// A broken environment: no archive, no network, a signature that does not hold.
    pub fn prepare(folder: &Path, suites: Suites, interrupt: &Interrupt) -> Outcome<Self> {
        let source = Source::of_this_machine(interrupt)?;
        let machine = Tool::new("apt-config", QUICK).args(["dump", "Acquire"]).capture(interrupt);
        let machine = machine.map(|finished| finished.stdout).unwrap_or_default();
        Self::with_source(folder, suites, &source, &machine, interrupt)
    }

    /// Like [`Self::prepare`], for a given archive and a given machine's `apt-config dump Acquire`.
    ///
    /// # Errors
    /// As [`Self::prepare`].
    pub fn with_source(folder: &Path, suites: Suites, source: &Source, machine: &str, interrupt: &Interrupt) -> Outcome<Self> {
        let suites = suites.names(source);
        for name in ["state/lists/partial", "cache/archives/partial", "etc"] {
            let path = folder.join(name);
            fs::create_dir_all(&path).at("create", &path)?;
        }
        let folder = folder.canonicalize().at("find", folder)?;
        let entry = |suite: &String| format!("deb [signed-by={}] {} {suite} main\n", source.keyring.display(), source.mirror);
        let configuration = folder.join("etc/apt.conf");
        // No packages are installed here, so that every dependency is resolved, down to the C library.
        let files = [
            (folder.join("state/status"), String::new()),
            (folder.join("etc/sources.list"), suites.iter().map(entry).collect()),
            (configuration.clone(), private_configuration(&folder, machine)?),
        ];
        for (path, content) in files {
            fs::write(&path, content).at("write", &path)?;
        }
        let apt = Self { folder, configuration, last_suite: suites.into_iter().next_back().unwrap_or_default() };
        apt.run("apt-get", &["update"], "the archive's index cannot be read or is not signed as it must be", interrupt)?;
        Ok(apt)
    }

    /// The newest version of `package` that begins with `upstream` and a `+` or `-`.
    ///
    /// # Errors
    /// A broken environment when there is none.
    pub fn version_of(&self, package: &str, upstream: &str, interrupt: &Interrupt) -> Outcome<String> {
        let what = format!("the archive has no {package} {upstream}");
        let listed = self.run("apt-cache", &["madison", package], &what, interrupt)?.stdout;
        let versions = || listed.lines().filter_map(|line| line.split('|').nth(1)).map(str::trim);
        let fits = |version: &&str| version.strip_prefix(upstream).is_some_and(|rest| rest.starts_with(['+', '-']));
        versions().find(fits).map(str::to_owned).ok_or_else(|| {
            let seen: Vec<&str> = versions().collect();
            Problem::environment(what).because(format!("it has: {}", seen.join(", "))).so(REMEDY)
        })
    }

    /// Downloads one package, without its dependencies.
    ///
    /// # Errors
    /// A broken environment.
    pub fn download(&self, package: &str, interrupt: &Interrupt) -> Outcome<PathBuf> {
        let what = format!("{package} cannot be downloaded");
        let begin = format!("{package}_");
        self.run("apt-get", &["download", package], &what, interrupt)?;
        let is_it = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&begin));
        let found = self.packages_in(&self.folder)?.into_iter().find(is_it);
        found.ok_or_else(|| Problem::environment(what).because("APT said it was done").so(REMEDY))
    }

    /// Downloads packages and everything they depend on, in one transaction; once for each [`Apt`].
    ///
    /// # Errors
    /// A broken environment.
    pub fn download_all(&self, packages: &[&str], interrupt: &Interrupt) -> Outcome<Vec<PathBuf>> {
        let what = format!("{} and what is needed for that cannot be downloaded", packages.join(", "));
        let arguments = [&["install", "--download-only", "-y", "-t", &self.last_suite], packages].concat();
        self.run("apt-get", &arguments, &what, interrupt)?;
        let packages = self.packages_in(&self.folder.join("cache/archives"))?;
        if packages.is_empty() {
            return Err(Problem::environment(what).because("APT said it was done, but no package came").so(REMEDY));
        }
        Ok(packages)
    }

    /// Unpacks a package into `root`.
    ///
    /// # Errors
    /// A broken environment: a full disk, no `dpkg-deb`.
    pub fn unpack(&self, package: &Path, root: &Path, interrupt: &Interrupt) -> Outcome<()> {
        let what = format!("{} cannot be unpacked", package.display());
        let remedy = "check that dpkg-deb is there and that the disk is not full";
        let tool = Tool::new("dpkg-deb", FETCH).args([Path::new("-x"), package, root]);
        let finished = tool.capture(interrupt).map_err(|error| error.problem(&what, remedy))?;
        if finished.status.success() { Ok(()) } else { Err(Problem::environment(what).because(complaint(&finished)).so(remedy)) }
    }

    fn packages_in(&self, folder: &Path) -> Outcome<Vec<PathBuf>> {
        let entries = fs::read_dir(folder).at("read", folder)?.flatten().map(|entry| entry.path());
        let mut packages: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|name| name == "deb")).collect();
        packages.sort();
        Ok(packages)
    }

    fn run(&self, program: &str, arguments: &[&str], what: &str, interrupt: &Interrupt) -> Outcome<Finished> {
        let tool = Tool::new(program, FETCH)
            .args(arguments)
            .env("APT_CONFIG", &self.configuration)
            .env("LC_ALL", "C")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .inside(&self.folder);
        let finished = tool.capture(interrupt).map_err(|error| error.problem(what, REMEDY))?;
        if finished.status.success() {
            return Ok(finished);
        }
        Err(Problem::environment(what).because(complaint(&finished)).so(REMEDY))
    }
}

/// File name and SHA-256 of packages, for the manifest.
///
/// # Errors
/// The disk's.
pub fn digests(packages: &[PathBuf]) -> Outcome<Vec<(String, String)>> {
    let digest = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok((name, sha256_of(path).at("read", path)?))
    };
    packages.iter().map(digest).collect()
}

/// The text of the configuration. How the machine reaches the network and judges the age of an index is taken over from its
/// own configuration (`machine`); whether a signature counts is not.
fn private_configuration(folder: &Path, machine: &str) -> Outcome<String> {
    let folder = folder.to_str().filter(|folder| !folder.contains(['"', '\n'])).ok_or_else(|| {
        Problem::environment(format!("APT cannot work in {}", folder.display()))
            .because("the path is not plain text")
            .so("use --setup-dir with another folder")
    })?;
    let network = ["Acquire::http::", "Acquire::https::", "Acquire::Check-Valid-Until ", "Acquire::Check-Date "];
    let taken_over = |line: &&str| {
        network.iter().any(|name| line.starts_with(name)) && !line.contains("Verify-") && !line.contains("AllowRedirect")
    };
    let taken_over: String = machine.lines().filter(taken_over).map(|line| format!("{line}\n")).collect();
    Ok(format!(
        r#"{taken_over}Dir::State "{folder}/state";
Dir::State::status "{folder}/state/status";
Dir::Cache "{folder}/cache";
Dir::Etc::Main "-";
Dir::Etc::Parts "-";
Dir::Etc::SourceList "{folder}/etc/sources.list";
Dir::Etc::SourceParts "-";
Dir::Etc::Preferences "-";
Dir::Etc::PreferencesParts "-";
APT::Architecture "{ARCHITECTURE}";
APT::Architectures "{ARCHITECTURE}";
APT::Install-Recommends "false";
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
APT::Get::AllowUnauthenticated "false";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
Acquire::Languages "none";
Acquire::Retries "3";
Debug::NoLocking "true";
"#
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_the_main_archive_of_the_release_that_runs_here() {
        let targets = "http://security.example/debian-security/\tbookworm-security\tmain\n\
                       http://tools.example/\tbookworm\tcontrib\n\
                       http://mirror.example/debian/\tbookworm\tmain\n";
        assert_eq!(mirror_among(targets, "bookworm").as_deref(), Some("http://mirror.example/debian/"));
        assert_eq!(mirror_among(targets, "trixie"), None);
        assert_eq!(mirror_among(targets, ""), None);
    }

    #[test]
    fn another_distribution_has_no_codename_for_us() {
        assert_eq!(codename("ID=ubuntu\nVERSION_CODENAME=noble\n"), "");
        assert_eq!(codename("NAME=\"x\"\nVERSION_CODENAME=bookworm\nID=debian\n"), "bookworm");
    }

    #[test]
    fn a_proxy_is_taken_over_and_insecurity_is_not() {
        let machine = "Acquire::http::Proxy \"http://proxy.example:3128\";\n\
                       Acquire::AllowInsecureRepositories \"1\";\n\
                       Acquire::https::Verify-Peer \"false\";\n";
        let text = private_configuration(Path::new("/setup"), machine).unwrap();
        assert!(text.contains("http://proxy.example:3128"));
        assert!(!text.contains("\"1\";"));
        assert!(!text.contains("Verify-Peer"));
        assert!(text.contains("Acquire::AllowInsecureRepositories \"false\";"));
    }

    #[test]
    fn a_folder_that_would_break_the_configuration_is_refused() {
        assert!(private_configuration(Path::new("/set\"up"), "").is_err());
    }
}
