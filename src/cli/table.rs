//! Aligned tables for people: a line of heads, then a row each.
//!
//! On a terminal the widest texts are cut so that no row wraps; elsewhere nothing is cut. Cells hold one line that is
//! safe to print.

use super::{terminal::Terminal, text};

/// Two spaces part columns.
const GAP: usize = 2;
/// A text column is not cut below this: less says nothing.
const WIDTH_MIN: usize = 8;

/// One field of a row.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    text: String,
    colour: Colour,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Colour {
    None,
    Good,
    Bad,
    Dim,
}

impl Colour {
    const fn code(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Good => "\u{1b}[32m",
            Self::Bad => "\u{1b}[31m",
            Self::Dim => "\u{1b}[2m",
        }
    }
}

impl Cell {
    /// Text that may come from anybody.
    pub(super) fn new(text: impl AsRef<str>) -> Self {
        Self { text: text::plain(text.as_ref()), colour: Colour::None }
    }

    /// The word of a state, in the colour that says whether it is well.
    pub(super) fn state(word: &str) -> Self {
        let colour = match word {
            "live" | "done" | "running" => Colour::Good,
            "failed" | "taken_down" => Colour::Bad,
            _ => Colour::None,
        };
        // As the panel says it.
        let word = if word == "superseded" { "was live" } else { word };
        Self { text: text::plain(word).replace('_', " "), colour }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

/// A column: its head, and whether its cells are numbers, which end at one line.
#[derive(Clone, Debug)]
pub(super) enum Column {
    /// Begins at one line.
    Text(&'static str),
    /// As `Text`, with a head that is known only now.
    Named(String),
    /// Ends at one line; never cut.
    Number(&'static str),
    /// Begins at one line; never cut, since people copy it.
    Whole(&'static str),
}

impl Column {
    fn head(&self) -> &str {
        match self {
            Self::Text(head) | Self::Number(head) | Self::Whole(head) => head,
            Self::Named(head) => head,
        }
    }
}

/// Rows under heads.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// No row yet.
    pub(super) fn new(columns: &[Column]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// No row yet, with columns of text that a person named.
    pub(super) fn named(heads: &[String]) -> Self {
        let columns = heads.iter().map(|it| Column::Named(text::plain(it))).collect();
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row: a cell for each column.
    pub(super) fn push_row(&mut self, row: Vec<Cell>) {
        self.rows.push(row);
    }

    /// Adds a row: a cell for each column.
    pub(super) fn push<const N: usize>(&mut self, row: [Cell; N]) {
        self.rows.push(row.into());
    }

    /// The whole table, without a line end at its end.
    pub(super) fn show(&self, terminal: Terminal) -> String {
        let heads = self.columns.iter().map(|it| Cell { text: it.head().to_owned(), colour: Colour::Dim }).collect();
        let widths = self.widths(terminal.width);
        let lines = std::iter::once(&heads).chain(&self.rows).map(|row| self.line(row, &widths, terminal.colours));
        lines.collect::<Vec<_>>().join("\n")
    }

    fn widths(&self, of_terminal: Option<usize>) -> Vec<usize> {
        let mut widths: Vec<usize> = self.columns.iter().map(|it| it.head().chars().count()).collect();
        for row in &self.rows {
            widths.iter_mut().zip(row).for_each(|(width, cell)| *width = cell.width().max(*width));
        }
        let Some(room) = of_terminal else { return widths };
        let room = room.saturating_sub(GAP * widths.len().saturating_sub(1));
        // Always from the widest: short columns stay whole.
        while widths.iter().sum::<usize>() > room {
            let texts =
                widths.iter_mut().zip(&self.columns).filter(|(_, it)| matches!(it, Column::Text(_) | Column::Named(_)));
            match texts.map(|(width, _)| width).max() {
                Some(widest) if *widest > WIDTH_MIN => *widest -= 1,
                _ => break,
            }
        }
        widths
    }

    fn line(&self, row: &[Cell], widths: &[usize], colours: bool) -> String {
        let mut line = String::new();
        let mut blanks = 0;
        for ((cell, width), column) in row.iter().zip(widths).zip(&self.columns) {
            let shown = text::cut(&cell.text, *width);
            let free = width.saturating_sub(shown.chars().count());
            let (before, after) = if matches!(column, Column::Number(_)) { (free, 0) } else { (0, free) };
            line.extend(std::iter::repeat_n(' ', blanks + before));
            if colours && cell.colour != Colour::None {
                line.extend([cell.colour.code(), shown.as_str(), "\u{1b}[0m"]);
            } else {
                line.push_str(&shown);
            }
            // Blanks at the end of a line would only be copied along.
            blanks = after + GAP;
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&[Column::Number("No"), Column::Text("Message"), Column::Whole("State")]);
        table.push([Cell::new("9"), Cell::new("A first try\n"), Cell::state("live")]);
        table.push([Cell::new("10"), Cell::new("x"), Cell::state("taken_down")]);
        table
    }

    #[test]
    fn columns_are_aligned_and_nothing_is_cut_elsewhere_than_on_a_terminal() {
        let wanted = "No  Message           State\n 9  A first try\\u{a}  live\n10  x                 taken down";
        assert_eq!(table().show(Terminal::default()), wanted);
    }

    #[test]
    fn a_terminal_cuts_texts_and_colours_states() {
        let narrow = Terminal { width: Some(26), colours: true };
        let shown = table().show(narrow);
        assert!(shown.contains(" 9  A first t…  \u{1b}[32mlive\u{1b}[0m"), "{shown}");
        assert!(shown.contains("\u{1b}[31mtaken down\u{1b}[0m"), "{shown}");
        let tiny = table().show(Terminal { width: Some(5), colours: false });
        assert!(tiny.contains("taken down") && tiny.contains("A first…"), "{tiny}");
    }
}
