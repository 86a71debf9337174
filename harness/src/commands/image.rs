//! `rig image`: Windows guests, from install media that the user has.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};

use super::options::Ground;
use crate::build::link::Linked;
use crate::build::program;
use crate::console::{note, say};
use crate::error::{AtPath as _, Exit, Outcome, Problem};
use crate::files::Lock;
use crate::interrupt::Interrupt;
use crate::places::Places;
use crate::setup::{accelerator, firmware, qemu};
use crate::windows::answer::Answers;
use crate::windows::answer_disk;
use crate::windows::drivers::Drivers;
use crate::windows::install::{self, Order, PASSWORD};
use crate::windows::media::Media;
use crate::windows::recipe::Recipe;
use crate::windows::store::{self, Image};

/// Options of `rig image`.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Shows what install media hold, and whether a recipe fits them.
    Inspect(Wish),
    /// Writes the disk with the answer file that installs them unattended.
    Answers {
        #[command(flatten)]
        wish: Wish,
        /// Where to write the disk.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Lists the recipes.
    Recipes,
    /// Installs Windows from media, unattended, and seals the result. Started again, it goes on where it was.
    Build(Build),
    /// Lists the images.
    List,
    /// Compares an image with its manifest.
    Verify {
        /// The image.
        name: String,
    },
    /// Removes an image, finished or not.
    Remove {
        /// The image.
        name: String,
    },
}

/// What is to be built.
#[derive(Clone, Debug, Args)]
struct Build {
    #[command(flatten)]
    wish: Wish,
    /// Name of the image. Default: the recipe's.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The ISO file with the virtio drivers for Windows: those that fit are installed, too.
    #[arg(long, value_name = "FILE")]
    virtio_iso: Option<PathBuf>,
    /// Seconds that each step may take. Default: what it should take, and more without KVM.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=604_800))]
    step_timeout: Option<u64>,
    /// What runs the guest.
    #[command(flatten)]
    ground: Ground,
}

/// What is to be installed.
#[derive(Clone, Debug, Args)]
struct Wish {
    /// The install media.
    #[arg(long, value_name = "FILE")]
    iso: PathBuf,
    /// Which of the media's editions. Default: the recipe's.
    #[arg(long, value_name = "NAME")]
    edition: Option<String>,
    /// A recipe of the repository, or a file. Default: the one that fits the media.
    #[arg(long, value_name = "NAME")]
    recipe: Option<String>,
}

/// Does it.
///
/// # Errors
/// Wrong media, an edition that they do not hold, a recipe that does not fit.
pub fn perform(arguments: &Arguments, interrupt: &Interrupt) -> Outcome<Exit> {
    let places = Places::find(match &arguments.command {
        Command::Build(build) => build.ground.setup_dir.clone(),
        _ => None,
    });
    interrupt.check()?;
    match &arguments.command {
        Command::Inspect(wish) => inspect(wish, &places)?,
        Command::Answers { wish, out } => answers(wish, out, &places)?,
        Command::Recipes => {
            for name in Recipe::names(&places)? {
                say(format!("{name}: {}", Recipe::find(&name, &places)?.title));
            }
        }
        Command::Build(wanted) => build(wanted, &places, interrupt)?,
        Command::List => list(&places)?,
        Command::Verify { name } => {
            Image::find(name, &places)?.verify()?;
            say(format!("{name}: as it was sealed"));
        }
        Command::Remove { name } => {
            store::remove(name, &places)?;
            note(format!("[rig] {name} is removed"));
        }
    }
    Ok(Exit::Passed)
}

fn inspect(wish: &Wish, places: &Places) -> Outcome<()> {
    let media = Media::inspect(&wish.iso)?;
    say(format!("{}: {} with {}", media.path.display(), media.file_system, media.image));
    for edition in &media.editions {
        let architecture = if edition.is_x64 { "x64" } else { "not x64" };
        let size = edition.bytes as f64 / f64::from(1 << 30);
        say(format!("{:>4}  {}  build {}, {architecture}, {size:.1} GiB", edition.index, edition.name, edition.build));
    }
    let (name, recipe) = recipe_of(wish, &media, places)?;
    let edition = recipe.choose(&media, wish.edition.as_deref())?;
    say(format!("recipe {name} installs \"{}\"", edition.name));
    Ok(())
}

fn answers(wish: &Wish, out: &Path, places: &Places) -> Outcome<()> {
    let media = Media::inspect(&wish.iso)?;
    if out.exists() {
        return Err(Problem::usage(format!("{} is there already", out.display()))
            .because("a disk with answers is written anew, over nothing")
            .so("name another file with --out, or remove that one"));
    }
    let (_, recipe) = recipe_of(wish, &media, places)?;
    let edition = recipe.choose(&media, wish.edition.as_deref())?;
    let file = Answers { recipe: &recipe, edition, password: PASSWORD }.file();
    answer_disk::write(out, &[("autounattend.xml", file.as_bytes())]).at("write", out)?;
    note(format!("[rig] answer disk for \"{}\": {}", edition.name, out.display()));
    Ok(())
}

/// Everything that can be wrong with the order is named before anything is fetched, built or written.
fn build(wanted: &Build, places: &Places, interrupt: &Interrupt) -> Outcome<()> {
    let wish = &wanted.wish;
    let media = Media::inspect(&wish.iso)?;
    let (recipe_name, recipe) = recipe_of(wish, &media, places)?;
    let edition = recipe.choose(&media, wish.edition.as_deref())?;
    let drivers = wanted.virtio_iso.as_ref().map(|path| Drivers::inspect(path, &recipe)).transpose()?;
    let name = wanted.name.as_deref().unwrap_or(&recipe_name);
    let folder = store::folder_of(name, places)?;
    if store::list(places)?.iter().any(|image| image.name == name) {
        return Err(Problem::usage(format!("there is an image {name} already"))
            .because("a sealed image is never written again")
            .so(format!("choose another name with --name, or remove it: cargo rig image remove {name}")));
    }
    let _lock = Lock::take(&store::folder(places).join(format!(".{name}.lock")), "installation", interrupt)?;
    let iso = std::path::absolute(&wish.iso).at("find", &wish.iso)?;
    let qemu = qemu::find_or_fetch(wanted.ground.qemu.as_deref(), places, interrupt)?;
    let accelerator = accelerator::choose(wanted.ground.accel, &qemu, places, interrupt)?;
    let firmware = firmware::find_or_fetch(places, interrupt)?;
    let (agent, built) = program("agent", Linked::Program { entry: "agent_start" }, places, interrupt)?;
    let agent = crate::build::read(&agent)?;
    drop(built);
    let step_timeout = wanted.step_timeout.map(Duration::from_secs);
    let order =
        Order { name, folder, iso: &iso, recipe: &recipe, edition, drivers, agent, step_timeout, qemu, accelerator, firmware };
    install::perform(&order, interrupt)?;
    say(format!("{name}: \"{}\" is installed; cargo rig run --rig windows --image {name}", edition.name));
    Ok(())
}

fn list(places: &Places) -> Outcome<()> {
    let images = store::list(places)?;
    if images.is_empty() {
        note("[rig] no images yet; `cargo rig image build` makes one");
    }
    for image in images {
        let of = &image.manifest;
        say(format!("{}: {}, build {}, sealed {}", image.name, of.edition, of.build, of.sealed));
    }
    Ok(())
}

fn recipe_of(wish: &Wish, media: &Media, places: &Places) -> Outcome<(String, Recipe)> {
    match &wish.recipe {
        Some(name) => Ok((name.clone(), Recipe::find(name, places)?)),
        None => Recipe::for_media(media, places),
    }
}
