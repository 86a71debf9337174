//! Modules that are part of the image besides the executive: the framework.

use super::sync::Once;
use kernel::entry::{BuiltInModule, GuardedCode};

const EXPORTS: usize = kmdf::WDFLDR.exports.len();
const GUARDED: usize = kmdf::WDFLDR.guarded.len();

static FRAMEWORK_EXPORTS: Once<[(&str, usize); EXPORTS]> = Once::new();
static FRAMEWORK_GUARDED: Once<[GuardedCode; GUARDED]> = Once::new();
static MODULES: Once<[BuiltInModule; 1]> = Once::new();

/// The framework as the executive wants it. Once, at boot: only a running program knows addresses as numbers.
pub(crate) fn modules() -> &'static [BuiltInModule] {
    let framework = &kmdf::WDFLDR;
    FRAMEWORK_EXPORTS.set(core::array::from_fn(|index| {
        let (name, address) = framework.exports[index];
        (name, address as usize)
    }));
    FRAMEWORK_GUARDED.set(core::array::from_fn(|index| {
        let code = framework.guarded[index];
        GuardedCode { begin: code.begin as usize, end: code.end as usize, landing: code.landing as usize }
    }));
    MODULES.set([BuiltInModule {
        name: framework.name,
        exports: FRAMEWORK_EXPORTS.get(),
        initialize: framework.initialize,
        guarded: FRAMEWORK_GUARDED.get(),
    }]);
    MODULES.get()
}
