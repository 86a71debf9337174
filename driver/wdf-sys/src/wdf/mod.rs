//! The framework: structures, enumerations, callbacks, and the function table.

mod callbacks;
mod device;
mod enums;
pub mod functions;
mod init;
mod object;
mod request;

pub use callbacks::*;
pub use device::*;
pub use enums::*;
pub use object::*;
pub use request::*;
