//! A plugin of the editor example: capitalizes the words of headings.

use editor::api::buffer::{get_line, line_count, set_line};
use exports::editor::api::command::{Guest, Report};

wit_bindgen::generate!({ path: "../wit/editor", world: "plugin" });

struct Title;
export!(Title);

impl Guest for Title {
    fn run() -> Result<Report, String> {
        let mut changed = Vec::new();
        for number in 0..line_count() {
            let line = get_line(number)?;
            let titled = capitalized(&line);
            if line.starts_with("# ") && titled != line {
                set_line(number, &titled)?;
                changed.push(number);
            }
        }
        Ok(Report { message: format!("{} headings capitalized", changed.len()), changed })
    }
}

fn capitalized(line: &str) -> String {
    let mut begins = true;
    let letter = |letter: char| {
        let begun = std::mem::replace(&mut begins, !letter.is_alphanumeric());
        if begun { letter.to_uppercase().next().unwrap_or(letter) } else { letter }
    };
    line.chars().map(letter).collect()
}
