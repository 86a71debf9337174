//! Options that several commands share.

use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::setup::accelerator::Wish;

/// What runs the guest, and where fetched things are kept.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub struct Ground {
    /// QEMU to use; must be 10.2 or newer. Default: the one on PATH if it is new enough, else one is fetched.
    #[arg(long, value_name = "PATH", env = crate::setup::qemu::VARIABLE)]
    pub qemu: Option<PathBuf>,
    /// What runs the guest's instructions.
    #[arg(long, value_enum, default_value_t)]
    pub accel: Wish,
    /// Where fetched things are kept. Default: target/rig/setup.
    #[arg(long, value_name = "FOLDER", env = "RIG_SETUP_DIR")]
    pub setup_dir: Option<PathBuf>,
}
