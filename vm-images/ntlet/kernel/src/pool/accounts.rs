//! Who has how much: blocks and bytes by module and by tag, for the report when a driver unloads.

use core::fmt;
use core::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

use crate::loader::modules;

/// Tags that are told apart for one module; blocks with further ones count for the module only.
const TAGS: usize = 32;

/// Blocks and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Blocks that are allocated.
    pub blocks: i64,
    /// Bytes in them.
    pub bytes: i64,
}

struct Account {
    /// 0 while free.
    tag: AtomicU32,
    blocks: AtomicI64,
    bytes: AtomicI64,
}

struct Module {
    accounts: [Account; TAGS],
    blocks: AtomicI64,
    bytes: AtomicI64,
    /// Allocations ever.
    allocations: AtomicU64,
}

static MODULES: [Module; modules::MOST] = [const {
    Module {
        accounts: [const { Account { tag: AtomicU32::new(0), blocks: AtomicI64::new(0), bytes: AtomicI64::new(0) } }; TAGS],
        blocks: AtomicI64::new(0),
        bytes: AtomicI64::new(0),
        allocations: AtomicU64::new(0),
    }
}; modules::MOST];

fn account(module: &'static Module, tag: u32) -> Option<&'static Account> {
    module.accounts.iter().find(|account| match account.tag.load(Ordering::Relaxed) {
        0 => match account.tag.compare_exchange(0, tag, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => true,
            Err(taken) => taken == tag,
        },
        taken => taken == tag,
    })
}

fn add(owner: usize, tag: u32, blocks: i64, bytes: i64) {
    let module = &MODULES[owner % modules::MOST];
    module.blocks.fetch_add(blocks, Ordering::Relaxed);
    module.bytes.fetch_add(bytes, Ordering::Relaxed);
    // The image's own blocks all have one tag.
    if owner != modules::IMAGE
        && let Some(account) = account(module, tag)
    {
        account.blocks.fetch_add(blocks, Ordering::Relaxed);
        account.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

pub(super) fn allocated(owner: usize, tag: u32, size: usize) {
    MODULES[owner % modules::MOST].allocations.fetch_add(1, Ordering::Relaxed);
    add(owner, tag, 1, size as i64);
}

pub(super) fn freed(owner: usize, tag: u32, size: usize) {
    add(owner, tag, -1, -(size as i64));
}

/// What the module in a slot has allocated.
#[must_use]
pub fn usage(slot: usize) -> Usage {
    let module = &MODULES[slot % modules::MOST];
    Usage { blocks: module.blocks.load(Ordering::Relaxed), bytes: module.bytes.load(Ordering::Relaxed) }
}

/// A tag as people write it.
pub(super) struct Tag(pub(super) u32);

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        self.0.to_le_bytes().iter().try_for_each(|&byte| f.write_char(if byte.is_ascii_graphic() { byte.into() } else { '.' }))
    }
}

/// Logs what the module in `slot` has not freed, by tag, and forgets it, so that the slot's next module begins with nothing.
/// Returns what was left.
pub fn leak_report(slot: usize) -> Usage {
    let left = usage(slot);
    let module = &MODULES[slot % modules::MOST];
    let name = modules::name_of_slot(slot);
    if left.blocks > 0 {
        log!("{name} leaves {} pool blocks with {} bytes behind", left.blocks, left.bytes);
    }
    for account in &module.accounts {
        let (tag, blocks) = (account.tag.swap(0, Ordering::Relaxed), account.blocks.swap(0, Ordering::Relaxed));
        let bytes = account.bytes.swap(0, Ordering::Relaxed);
        if blocks > 0 {
            log!("  tag {}: {blocks} blocks, {bytes} bytes", Tag(tag));
        }
    }
    module.blocks.store(0, Ordering::Relaxed);
    module.bytes.store(0, Ordering::Relaxed);
    left
}
