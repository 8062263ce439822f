//! Breaks text for a terminal into lines of 80 columns.

/// The width that every terminal has.
pub(crate) const COLUMNS: usize = 80;

/// Appends `first` and then `value` to `text`, in as many lines as needed; those after the first
/// begin with `indent` spaces.
pub(crate) fn add(text: &mut String, first: &str, indent: usize, value: &str) {
    let mut line = first.to_owned();
    let mut is_empty = true;
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

#[cfg(test)]
mod tests {
    use super::*;

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
