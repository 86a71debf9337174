//! What is loaded where in a running guest, read from its memory without its help: ntlet's list of modules lies in its image, whose
//! addresses its symbols give away.

use std::path::Path;

use kd::data::{ListEntry, ModuleEntry};
use kd::zerocopy::{FromZeros as _, IntoBytes as _};
use object::{Object as _, ObjectSymbol as _};

use crate::console::printable;
use crate::kd::TargetModule;
use crate::memory::GuestMemory;

/// The list's symbol.
const SYMBOL: &str = "PsLoadedModuleList";
/// Virtual minus physical address of the image.
const IMAGE_BASE: u64 = 0xffff_ffff_8000_0000;
/// Most modules that are read.
const MOST: usize = 256;

/// The modules of the guest that `image` runs in. Empty when the list cannot be followed.
#[must_use]
pub fn loaded(memory: &GuestMemory, image: &Path) -> Vec<TargetModule> {
    let mut modules = Vec::new();
    let Some(head) = symbol(image) else { return modules };
    let read = |address: u64, bytes: &mut [u8]| memory.read(address.checked_sub(IMAGE_BASE)?, bytes).ok();
    let mut links = ListEntry::default();
    if read(head, links.as_mut_bytes()).is_none() {
        return modules;
    }
    let mut at = links.next;
    while at != head && modules.len() < MOST {
        let mut entry = ModuleEntry::new_zeroed();
        let mut name = [0; 64];
        if read(at, entry.as_mut_bytes()).is_none() || read(entry.base_name.buffer, &mut name).is_none() {
            break;
        }
        let length = usize::from(entry.base_name.length).min(name.len());
        let units: Vec<u16> = name[..length].chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect();
        let name = printable(&String::from_utf16_lossy(&units));
        modules.push(TargetModule { name, base: entry.base, size: entry.size.into(), time_stamp: entry.time_stamp });
        at = entry.links.next;
    }
    modules
}

fn symbol(image: &Path) -> Option<u64> {
    let bytes = std::fs::read(image).ok()?;
    let file = object::File::parse(&*bytes).ok()?;
    file.symbols().find(|symbol| symbol.name() == Ok(SYMBOL)).map(|symbol| symbol.address())
}
