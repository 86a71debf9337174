//! `rig image`: Windows guests, from install media that the user has.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::console::{note, say};
use crate::error::{AtPath as _, Exit, Outcome};
use crate::interrupt::Interrupt;
use crate::places::Places;
use crate::windows::answer::Answers;
use crate::windows::answer_disk;
use crate::windows::media::Media;
use crate::windows::recipe::Recipe;

/// Password of the account that tests run under, in a machine without network.
const PASSWORD: &str = "rig";

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
    let places = Places::find(None);
    interrupt.check()?;
    match &arguments.command {
        Command::Inspect(wish) => inspect(wish, &places)?,
        Command::Answers { wish, out } => answers(wish, out, &places)?,
        Command::Recipes => {
            for name in Recipe::names(&places)? {
                say(format!("{name}: {}", Recipe::find(&name, &places)?.title));
            }
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
    let (_, recipe) = recipe_of(wish, &media, places)?;
    let edition = recipe.choose(&media, wish.edition.as_deref())?;
    let file = Answers { recipe: &recipe, edition, password: PASSWORD }.file();
    answer_disk::write(out, &[("autounattend.xml", file.as_bytes())]).at("write", out)?;
    note(format!("[rig] answer disk for \"{}\": {}", edition.name, out.display()));
    Ok(())
}

fn recipe_of(wish: &Wish, media: &Media, places: &Places) -> Outcome<(String, Recipe)> {
    match &wish.recipe {
        Some(name) => Ok((name.clone(), Recipe::find(name, places)?)),
        None => Recipe::for_media(media, places),
    }
}
