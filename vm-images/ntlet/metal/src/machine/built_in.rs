//! Modules that are part of the image besides the executive: the framework.

use super::sync::Once;
use kernel::entry::BuiltInModule;

const EXPORTS: usize = kmdf::WDFLDR.exports.len();

static FRAMEWORK_EXPORTS: Once<[(&str, usize); EXPORTS]> = Once::new();
static MODULES: Once<[BuiltInModule; 1]> = Once::new();

/// The framework as the executive wants it. Once, at boot: only a running program knows functions' addresses as numbers.
pub(crate) fn modules() -> &'static [BuiltInModule] {
    let framework = &kmdf::WDFLDR;
    FRAMEWORK_EXPORTS.set(core::array::from_fn(|index| {
        let (name, address) = framework.exports[index];
        (name, address as usize)
    }));
    MODULES.set([BuiltInModule { name: framework.name, exports: FRAMEWORK_EXPORTS.get(), initialize: framework.initialize }]);
    MODULES.get()
}
