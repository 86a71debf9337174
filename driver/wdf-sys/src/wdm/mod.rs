//! The kernel: structures, constants, callbacks, and the functions it exports.

mod callbacks;
pub mod constants;
mod dispatcher;
pub mod functions;
mod inline;
mod io;
mod nested;
mod resource;

pub use callbacks::*;
pub use dispatcher::*;
pub use inline::*;
pub use io::*;
pub use nested::*;
pub use resource::*;
