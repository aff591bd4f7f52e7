//! Values of WIT types, and their JSON form.

pub mod from_json;
pub mod lift;
pub mod lower;
pub mod place;
pub mod resources;
pub mod vals;
pub mod value;
