//! Text that stays on its line.

use std::fmt::{self, Write};

/// Shows a text as a single line: control characters are escaped.
#[derive(Clone, Copy, Debug)]
pub struct OneLine<'a>(pub &'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            if character.is_control() {
                write!(formatter, "{}", character.escape_default())?;
            } else {
                formatter.write_char(character)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_control_character_is_left() {
        let text = "--uri /a\nheartbeat: fine\r\t\x1b[31m\u{85}é\\";
        let line = "--uri /a\\nheartbeat: fine\\r\\t\\u{1b}[31m\\u{85}é\\";
        assert_eq!(OneLine(text).to_string(), line);
        assert_eq!(OneLine(line).to_string(), line);
    }
}
