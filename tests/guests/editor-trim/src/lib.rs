//! A plugin of the editor example: removes spaces at the ends of lines.

use editor::api::buffer::{get_line, line_count, set_line};
use exports::editor::api::command::{Guest, Report};

wit_bindgen::generate!({ path: "../wit/editor", world: "plugin" });

struct Trim;
export!(Trim);

impl Guest for Trim {
    fn run() -> Result<Report, String> {
        let mut changed = Vec::new();
        for number in 0..line_count() {
            let line = get_line(number)?;
            let trimmed = line.trim_end();
            if trimmed != line {
                set_line(number, trimmed)?;
                changed.push(number);
            }
        }
        Ok(Report { message: format!("{} lines trimmed", changed.len()), changed })
    }
}
