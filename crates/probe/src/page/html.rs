//! The frame of every page, and the escaping of foreign text.

use std::fmt::{self, Display, Write};

use jiff::Timestamp;

use super::words;

/// Any text, written so that a browser shows it and does nothing else.
pub(super) struct Escaped<T>(pub(super) T);

impl<T: Display> Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

struct Escaping<'a, 'f>(&'a mut fmt::Formatter<'f>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            match letter {
                '&' => self.0.write_str("&amp;")?,
                '<' => self.0.write_str("&lt;")?,
                '>' => self.0.write_str("&gt;")?,
                '"' => self.0.write_str("&quot;")?,
                '\'' => self.0.write_str("&#39;")?,
                // Controls of the text direction could make a text look like another one.
                letter if is_bidi_control(letter) => self.0.write_char('\u{fffd}')?,
                letter => self.0.write_char(letter)?,
            }
        }
        Ok(())
    }
}

fn is_bidi_control(letter: char) -> bool {
    matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

/// Appends formatted text to a page; writing to memory cannot fail.
macro_rules! add {
    ($page:expr, $($argument:tt)*) => {{
        use std::fmt::Write as _;
        let _ = write!($page, $($argument)*);
    }};
}
pub(super) use add;

/// A whole page around `body`, which reloads itself after `refresh_s` seconds.
pub(super) fn document(title: &str, refresh_s: u32, body: &str) -> String {
    let mut page = String::with_capacity(body.len() + STYLE.len() + 1024);
    add!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"refresh\" content=\"{refresh_s}\">\n\
         <link rel=\"icon\" href=\"data:,\">\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n{body}\
         <footer>heartbeat-probe {} · {} · reloads every {refresh_s} s</footer>\n\
         </body>\n</html>\n",
        Escaped(title),
        env!("CARGO_PKG_VERSION"),
        words::clock(Timestamp::now()),
    );
    page
}

/// One figure with its name, for the list at the top of a page.
pub(super) fn tile(page: &mut String, class: &str, figure: impl Display, name: &str) {
    add!(page, "<li class=\"{class}\"><b>{}</b> {}</li>\n", Escaped(figure), Escaped(name));
}

const STYLE: &str = include_str!("style.css");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_everything_that_could_be_markup() {
        let text = "<script>alert(\"x\")</script>&'\u{202e}";
        let wanted = "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;&amp;&#39;\u{fffd}";
        assert_eq!(Escaped(text).to_string(), wanted);
    }

    #[test]
    fn a_page_escapes_its_title_and_has_no_script() {
        let page = document("<b>", 10, "<p>x</p>\n");
        assert!(page.contains("<title>&lt;b&gt;</title>"), "{page}");
        assert!(page.contains("content=\"10\"") && !page.contains("<script"), "{page}");
    }
}
