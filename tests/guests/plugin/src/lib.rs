//! A plugin of an editor: it has no other rights than to call its host.

use editor::api::buffer::{self, Denial, Position, Value};
use exports::editor::plugin::commands::Guest;

wit_bindgen::generate!({ path: "wit", world: "plugin", generate_all });

struct Plugin;
export!(Plugin);

impl Guest for Plugin {
    fn line_count() -> u32 {
        buffer::line_count()
    }

    fn get_line(number: u32) -> Result<String, String> {
        buffer::get_line(number)
    }

    fn set_line(number: u32, text: String) -> Result<(), String> {
        buffer::set_line(number, &text)
    }

    fn insert(at: Position, text: String) -> Result<Position, Denial> {
        buffer::insert(at, &text)
    }

    fn try_lock() -> Result<(), ()> {
        buffer::try_lock()
    }

    fn beep() {
        buffer::beep();
    }

    fn mirror(values: Vec<Value>) -> Vec<Value> {
        buffer::mirror(&values)
    }

    fn bytes(count: u32) -> u32 {
        buffer::bytes(count).len() as u32
    }

    fn shout() -> Result<u32, String> {
        let count = buffer::line_count();
        for number in 0..count {
            let line = buffer::get_line(number)?;
            buffer::set_line(number, &line.to_uppercase())?;
        }
        Ok(count)
    }
}
