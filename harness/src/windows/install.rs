//! Installing: from media to a sealed image, leg by leg.
//!
//! A leg is what happens between two starts of the guest. Each has a QEMU of its own and writes into a disk of its own, on top of the
//! one before. A leg that was killed or stuck leaves nothing that counts: the next attempt begins where the last whole leg ended.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chrono::{SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::answer::{AGENT, Answers, DRIVERS, SETUP, setup_script};
use super::drivers::Drivers;
use super::pc::{Pc, Writes};
use super::qcow2;
use super::recipe::Recipe;
use super::store::{self, Manifest};
use super::wim::Edition;
use crate::console::{Step, note};
use crate::error::{AtPath as _, Outcome, Problem};
use crate::files::{sha256, sha256_of, write_whole};
use crate::interrupt::Interrupt;
use crate::run::agent::{DUMP, Preparation, Progress};
use crate::run::boot::{Boot, Installed, Logs, Mission, Rig};
use crate::run::session::{Cause, Session};
use crate::setup::accelerator::Accelerator;
use crate::setup::firmware::Firmware;
use crate::setup::qemu::Qemu;
use crate::symbols::Symbols;

/// Where an unfinished installation says how far it is.
const PROGRESS: &str = "progress.json";
/// Most legs: Setup starts the machine again three or four times.
const MOST_LEGS: usize = 12;
/// How often the key is pressed that media wait for, and for how long.
const KEY: Duration = Duration::from_secs(1);
const KEYS: Duration = Duration::from_secs(180);
/// What an installation writes beyond what the edition's files take once they are installed.
const ROOM: u64 = 12 << 30;
/// Password of the account that tests run under, in a machine without network.
pub const PASSWORD: &str = "rig";

/// What waits for what, and how long each may take with hardware that runs a guest; software takes several times as long.
const DEADLINES: [(&str, &str, u64); 4] = [
    ("", "Setup to begin", 15),
    ("windowsPE", "Setup to copy the system and start it", 60),
    ("specialize", "the system to get ready for its first logon", 60),
    ("first-logon", "the first logon to end and the agent to come", 30),
];
/// How much longer without such hardware.
const SLOWER: u32 = 6;

/// What is to be installed, checked already.
#[derive(Debug)]
pub struct Order<'a> {
    /// Name of the image.
    pub name: &'a str,
    /// Its folder.
    pub folder: PathBuf,
    /// The media.
    pub iso: &'a Path,
    /// How the machine is made.
    pub recipe: &'a Recipe,
    /// What is installed.
    pub edition: &'a Edition,
    /// Further drivers, if there are to be any.
    pub drivers: Option<Drivers>,
    /// The agent.
    pub agent: Vec<u8>,
    /// Longest time of every step, if the user knows better.
    pub step_timeout: Option<Duration>,
    /// What runs the guest.
    pub qemu: Qemu,
    /// What runs its instructions.
    pub accelerator: Accelerator,
    /// Its firmware.
    pub firmware: Firmware,
}

/// How far an installation is.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    /// SHA-256 of everything that it is made of, by name.
    made_of: BTreeMap<String, String>,
    /// Whole legs.
    legs: usize,
    /// The last step that began, and seconds that each took which is over.
    step: String,
    steps: Vec<(String, u64)>,
    /// The agent has come and the machine has been turned off: only the seal is missing.
    system: Option<String>,
}

/// Installs, or goes on installing.
///
/// # Errors
/// A step is late, which leaves a screenshot; the machine or the disk fails; an interrupt.
pub fn perform(order: &Order<'_>, interrupt: &Interrupt) -> Outcome<()> {
    check_room(&order.folder, order.edition)?;
    fs::create_dir_all(&order.folder).at("create", &order.folder)?;
    let answers = Answers { recipe: order.recipe, edition: order.edition, password: PASSWORD }.file();
    let mut state = resume(order, &answers)?;
    let mut files = vec![
        ("autounattend.xml".to_owned(), answers.into_bytes()),
        (AGENT.to_owned(), order.agent.clone()),
        (SETUP.to_owned(), setup_script(order.recipe).into_bytes()),
    ];
    files.extend(order.drivers.as_ref().map(|drivers| (DRIVERS.to_owned(), format!("{}\r\n", drivers.folder).into_bytes())));
    while state.system.is_none() {
        if state.legs == MOST_LEGS {
            return Err(Problem::environment(format!("Windows started {MOST_LEGS} times and is not installed"))
                .because(format!("the last step that began is {:?}", state.step))
                .so(again(order)));
        }
        Leg { order, state: &mut state, files: &files, interrupt }.perform()?;
        save(&order.folder, &state)?;
    }
    seal(order, state)
}

/// What to do about an installation that went wrong.
fn again(order: &Order<'_>) -> String {
    format!(
        "look at {}, start again to go on, or begin anew after `cargo rig image remove {}`",
        order.folder.display(),
        order.name
    )
}

/// Whether there is room for what will be written.
fn check_room(folder: &Path, edition: &Edition) -> Outcome<()> {
    let place = folder.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("/"));
    let found = rustix::fs::statvfs(place).map_err(std::io::Error::from).at("look at", place)?;
    let (free, wanted) = (found.f_bavail.saturating_mul(found.f_frsize), edition.bytes.saturating_add(ROOM));
    let used = disk_usage(folder);
    if free.saturating_add(used) >= wanted {
        return Ok(());
    }
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    Err(Problem::environment(format!("there is too little room for \"{}\"", edition.name))
        .because(format!("{} has {:.1} GiB free, installing takes about {:.1} GiB", place.display(), gib(free), gib(wanted)))
        .so("free some, or set CARGO_TARGET_DIR to a folder on a larger disk"))
}

/// Bytes that the files of a folder take.
fn disk_usage(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    files.filter_map(|entry| entry.metadata().ok()).map(|data| data.blocks() * 512).sum()
}

/// The state of an earlier attempt with the same ingredients, or a new one.
fn resume(order: &Order<'_>, answers: &str) -> Outcome<State> {
    let step = Step::begin("reading the media whole, for the manifest");
    let of = |path: &Path| sha256_of(path).at("read", path);
    let mut made_of: BTreeMap<String, String> = [
        ("media", of(order.iso)?),
        ("firmware", of(&order.firmware.code)?),
        ("agent", sha256(&order.agent)),
        ("answer file", sha256(answers.as_bytes())),
        ("setup script", sha256(setup_script(order.recipe).as_bytes())),
        ("recipe", sha256(format!("{:?}", order.recipe).as_bytes())),
    ]
    .map(|(name, digest)| (name.to_owned(), digest))
    .into();
    if let Some(drivers) = &order.drivers {
        made_of.insert("drivers".to_owned(), of(&drivers.path)?);
    }
    step.done("");
    let path = order.folder.join(PROGRESS);
    let earlier = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<State>(&bytes).ok());
    let state = match earlier {
        Some(state) if state.made_of == made_of => state,
        Some(_) => {
            note("[rig] an earlier attempt was made of something else; beginning anew");
            State { made_of, ..State::default() }
        }
        None => State { made_of, ..State::default() },
    };
    if state.legs > 0 {
        note(format!("[rig] going on after {} starts of the guest, at step {:?}", state.legs, state.step));
    } else {
        begin(order)?;
    }
    save(&order.folder, &state)?;
    Ok(state)
}

/// The folder before the first leg: an empty disk, and firmware that remembers nothing.
fn begin(order: &Order<'_>) -> Outcome<()> {
    // First what says that there is something to go on with: a kill in the middle leaves nothing that seems to be.
    let progress = order.folder.join(PROGRESS);
    if progress.exists() {
        fs::remove_file(&progress).at("remove", &progress)?;
    }
    for entry in fs::read_dir(&order.folder).at("read", &order.folder)?.flatten() {
        let path = entry.path();
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.at("remove", &path)?;
    }
    let disk = order.folder.join(disk(0));
    let file = File::create_new(&disk).at("create", &disk)?;
    qcow2::create(&file, u64::from(order.recipe.disk_gib) << 30, None).at("write", &disk)?;
    for (from, to) in [(&order.firmware.code, store::FIRMWARE.to_owned()), (&order.firmware.variables, variables(0))] {
        let to = order.folder.join(to);
        fs::write(&to, fs::read(from).at("read", from)?).at("write", &to)?;
    }
    Ok(())
}

/// The disk and what the firmware remembers after so many legs.
fn disk(legs: usize) -> String {
    format!("disk-{legs}.qcow2")
}

fn variables(legs: usize) -> String {
    format!("variables-{legs}.fd")
}

fn save(folder: &Path, state: &State) -> Outcome<()> {
    let path = folder.join(PROGRESS);
    let text = serde_json::to_vec_pretty(state).map_err(std::io::Error::from).at("write", &path)?;
    write_whole(&path, &text).at("write", &path)
}

/// One leg.
struct Leg<'a> {
    order: &'a Order<'a>,
    state: &'a mut State,
    files: &'a [(String, Vec<u8>)],
    interrupt: &'a Interrupt,
}

impl Leg<'_> {
    /// From one start of the guest to the next, or to the end.
    fn perform(&mut self) -> Outcome<()> {
        let number = self.state.legs + 1;
        let rig = self.rig(number)?;
        let folder = self.order.folder.join(format!("start-{number}"));
        fs::create_dir_all(&folder).at("create", &folder)?;
        let log = |name: &str| File::create(folder.join(name)).at("create", &folder.join(name));
        let (guest, device, qemu) = (log("guest.log")?, log("device.log")?, log("qemu.log")?);
        let logs = Logs { folder: &folder, guest: &guest, device: &device, qemu: &qemu };
        let mission = Mission { verifier: None, removable: false, faults: None, recording: None };
        let boot = Boot::start(&rig, &mission, &logs, self.interrupt).map_err(|(who, error)| {
            Problem::environment(format!("{who} cannot be started")).because(error.to_string()).so("see `cargo rig doctor`")
        })?;
        note(format!("[rig] start {number} of the guest"));
        let symbols = Symbols::new(Vec::new());
        let mut session = Session::new(boot, &symbols);
        self.converse(&mut session, number == 1).map_err(|cause| self.explain(&cause))?;
        self.state.legs = number;
        Ok(())
    }

    fn rig(&self, number: usize) -> Outcome<Rig> {
        let folder = &self.order.folder;
        let (base, disk) = (disk(number - 1), folder.join(disk(number)));
        // What an earlier attempt at this leg left does not count.
        let file = File::create(&disk).at("create", &disk)?;
        let size = u64::from(self.order.recipe.disk_gib) << 30;
        qcow2::create(&file, size, Some(Path::new(&base))).at("write", &disk)?;
        let (old, new) = (folder.join(variables(number - 1)), folder.join(variables(number)));
        fs::write(&new, fs::read(&old).at("read", &old)?).at("write", &new)?;
        let pc = Pc {
            firmware: folder.join(store::FIRMWARE),
            variables: new,
            disk: disk.clone(),
            writes: Writes::Kept,
            media: Some(self.order.iso.to_path_buf()),
            drivers: self.order.drivers.as_ref().map(|drivers| drivers.path.clone()),
            files: self.files.to_vec(),
            debugger: None,
        };
        Ok(Rig {
            qemu: self.order.qemu.clone(),
            accelerator: self.order.accelerator,
            processors: 2,
            memory: self.order.recipe.memory_mib,
            image: disk,
            append: String::new(),
            late_log: None,
            archive: None,
            windows: Some(Installed { pc, preparation: Preparation::default() }),
            model: None,
            faults: String::new(),
            kd_host: None,
        })
    }

    /// Follows the steps until the guest starts again, or the agent is there and has turned the machine off.
    fn converse(&mut self, session: &mut Session<'_>, is_first: bool) -> Result<(), Cause> {
        let (began, mut since) = (Instant::now(), Instant::now());
        let mut pressing = is_first;
        loop {
            let (waiting_for, patience) = self.deadline();
            let deadline = since + patience;
            let moment = if pressing { (Instant::now() + KEY).min(deadline) } else { deadline };
            match session.progress(moment)? {
                Some(Progress::Step(name)) => {
                    self.step(name, since.elapsed());
                    (pressing, since) = (false, Instant::now());
                }
                Some(Progress::Gone) => return Ok(()),
                Some(Progress::Up) => {
                    self.step("agent".to_owned(), since.elapsed());
                    self.state.system = Some(finish(session)?);
                    return Ok(());
                }
                None if Instant::now() >= deadline => return Err(self.late(session, waiting_for, patience)),
                None => {}
            }
            if pressing {
                pressing = began.elapsed() < KEYS;
                // A monitor that is not ready yet is asked again.
                let _ = session.monitor().execute("send-key", &json!({ "keys": [{ "type": "qcode", "data": "ret" }] }));
            }
        }
    }

    /// What is waited for now, and how long.
    fn deadline(&self) -> (&'static str, Duration) {
        let found = DEADLINES.iter().find(|(step, ..)| *step == self.state.step).unwrap_or(&DEADLINES[DEADLINES.len() - 1]);
        let patience = Duration::from_secs(60 * found.2);
        let slower = if self.order.accelerator == Accelerator::Kvm { 1 } else { SLOWER };
        (found.1, self.order.step_timeout.unwrap_or(patience * slower))
    }

    fn step(&mut self, name: String, time: Duration) {
        note(format!("[rig] {name} begins, after {:.0} s", time.as_secs_f64()));
        self.state.steps.push((std::mem::replace(&mut self.state.step, name), time.as_secs()));
    }

    /// A step is late: what the screen shows is kept.
    fn late(&self, session: &mut Session<'_>, waiting_for: &str, patience: Duration) -> Cause {
        let picture = self.order.folder.join(format!("late-{}.png", self.state.legs + 1));
        let wish = json!({ "filename": picture.display().to_string(), "format": "png" });
        let screen = match session.monitor().execute("screendump", &wish) {
            Ok(_) => format!("what the screen shows: {}", picture.display()),
            Err(error) => format!("no picture of the screen: {error}"),
        };
        Cause::Hang { waiting_for: waiting_for.to_owned(), patience, log: vec![screen] }
    }

    fn explain(&self, cause: &Cause) -> Problem {
        let mut lines = cause.lines().into_iter();
        let what = format!("Windows is not installed: {}", lines.next().unwrap_or_default());
        let problem = match cause {
            Cause::Hang { .. } => Problem::hang(what),
            Cause::Interrupted(signal) => return Problem::interrupted(*signal),
            _ => Problem::environment(what),
        };
        problem.because(lines.map(|line| line.trim().to_owned()).collect::<Vec<_>>().join("\n")).so(again(self.order))
    }
}

/// The agent is there: is all well, and off.
fn finish(session: &mut Session<'_>) -> Result<String, Cause> {
    let system = session.meet_agent("the agent", Duration::from_secs(60))?;
    if session.size(DUMP)?.is_some() {
        return Err(Cause::Unready(format!("Windows has crashed while it was installed: there is a {DUMP}")));
    }
    session.shut_down()?;
    Ok(system)
}

/// Puts the finished image together and seals it.
fn seal(order: &Order<'_>, state: State) -> Outcome<()> {
    let step = Step::begin("sealing");
    let folder = &order.folder;
    let last = folder.join(variables(state.legs));
    fs::rename(&last, folder.join(store::VARIABLES))
        .or_else(|error| {
            // An attempt that was killed here has done it.
            if folder.join(store::VARIABLES).is_file() { Ok(()) } else { Err(error) }
        })
        .at("rename", &last)?;
    let mut files: Vec<String> = (0..=state.legs).map(disk).collect();
    files.extend([store::FIRMWARE, store::VARIABLES].map(str::to_owned));
    let program = sha256_of(&order.qemu.program).at("read", &order.qemu.program)?;
    let tools =
        [("rig", env!("CARGO_PKG_VERSION").to_owned()), ("qemu", order.qemu.version.clone()), ("qemu program, SHA-256", program)];
    let manifest = Manifest {
        format: 0,
        edition: order.edition.name.clone(),
        build: order.edition.build,
        system: state.system.unwrap_or_default(),
        memory_mib: order.recipe.memory_mib,
        sealed: Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true),
        made_of: state.made_of,
        tools: tools.map(|(name, version)| (name.to_owned(), version)).into(),
        disk: disk(state.legs),
        files: BTreeMap::new(),
        steps: state.steps,
    };
    store::seal(folder, manifest, &files)?;
    for number in 0..state.legs {
        let _ = fs::remove_file(folder.join(variables(number)));
    }
    let progress = folder.join(PROGRESS);
    fs::remove_file(&progress).at("remove", &progress)?;
    step.done(order.name);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_room_is_named_with_what_there_is_and_what_is_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let edition =
            |bytes| Edition { index: 1, name: "Windows".to_owned(), title: String::new(), build: 26100, is_x64: true, bytes };
        let image = folder.path().join("images/w");
        let problem = check_room(&image, &edition(u64::MAX)).unwrap_err();
        assert_eq!(problem.exit(), crate::error::Exit::Environment);
        assert!(problem.to_string().contains("too little room for \"Windows\""), "{problem}");
        assert!(problem.why().contains("GiB free, installing takes about"), "{problem}");
        assert!(!image.exists(), "nothing is written before there is room");
    }
}
