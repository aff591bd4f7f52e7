//! A plugin of the editor example: shows how many words there are.

use editor::api::buffer::{get_line, line_count};
use editor::api::screen::show;
use exports::editor::api::command::{Guest, Report};

wit_bindgen::generate!({ path: "../wit/editor", world: "plugin" });

struct Count;
export!(Count);

impl Guest for Count {
    fn run() -> Result<Report, String> {
        let mut words = 0;
        for number in 0..line_count() {
            words += get_line(number)?.split_whitespace().count();
        }
        show(&format!("{words} words"));
        Ok(Report { changed: Vec::new(), message: "counted".into() })
    }
}
