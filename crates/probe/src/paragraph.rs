//! Breaks text for a terminal into lines of 80 columns, without the characters by which a server
//! could control the terminal.

/// The width that every terminal has.
pub(crate) const COLUMNS: usize = 80;

/// Appends `first` and then `value` to `text`, in as many lines as needed; those after the first
/// begin with `indent` spaces.
pub(crate) fn add(text: &mut String, first: &str, indent: usize, value: &str) {
    let mut line = first.to_owned();
    let mut is_empty = true;
    let value: String = value.chars().map(shown).collect();
    for word in value.split_whitespace() {
        let mut word = word;
        loop {
            let room = COLUMNS.saturating_sub(line.chars().count() + usize::from(!is_empty));
            if word.chars().count() <= room {
                break;
            }
            if !is_empty {
                text.push_str(&(line + "\n"));
                (line, is_empty) = (" ".repeat(indent), true);
                continue;
            }
            // A word that is longer than a line, such as a URL, is cut.
            let cut = word.char_indices().nth(room).map_or(word.len(), |(at, _)| at);
            text.push_str(&(line + &word[..cut] + "\n"));
            word = &word[cut..];
            line = " ".repeat(indent);
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    text.push_str(&(line.trim_end().to_owned() + "\n"));
}

fn shown(letter: char) -> char {
    // White space between words becomes a single space anyway.
    let is_space = letter.is_ascii_whitespace();
    if is_control(letter) && !is_space { char::REPLACEMENT_CHARACTER } else { letter }
}

/// Whether a character controls the terminal or the order of the letters: C0, DEL, C1, the
/// separators of lines and paragraphs, and those for both directions of writing (UAX #9).
pub(crate) fn is_control(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{2028}'..='\u{2029}' | '\u{202A}'..='\u{202E}')
        || matches!(letter, '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_character_controls_the_terminal() {
        let mut text = String::new();
        let value = "a\u{1b}[2J\u{7f} \u{9b}31m\u{85}b\u{2028}\u{202e}\u{2066}\tc\n\u{e9}";
        add(&mut text, "", 0, value);
        let replaced = "a\u{fffd}[2J\u{fffd} \u{fffd}31m\u{fffd}b\u{fffd}\u{fffd}\u{fffd} c \u{e9}";
        assert_eq!(text, format!("{replaced}\n"));
    }

    #[test]
    fn words_of_every_length_fill_lines_to_the_last_column() {
        for length in 1..200 {
            let mut text = String::new();
            add(&mut text, "  name       ", 13, &format!("{0} {0} {0}", "x".repeat(length)));
            assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
            assert_eq!(text.matches('x').count(), length * 3);
        }
    }
}
