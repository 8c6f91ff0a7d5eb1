//! Renders tables as aligned text: messages have no tables.

/// Largest column width for alignment.
const MAX_WIDTH: usize = 32;

/// The cells of a table.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn begin_row(&mut self) {
        self.rows.push(Vec::new());
    }

    pub(super) fn begin_cell(&mut self) {
        if let Some(row) = self.rows.last_mut() {
            row.push(String::new());
        }
    }

    pub(super) fn push(&mut self, text: &str) {
        if let Some(cell) = self.rows.last_mut().and_then(|row| row.last_mut()) {
            cell.push_str(&text.replace('\n', " "));
        }
    }

    /// Adds the address of a link to the current cell, unless the cell ends with it.
    pub(super) fn push_address(&mut self, address: &str) {
        let cell = self.rows.last().and_then(|row| row.last());
        if let Some(cell) = cell.filter(|cell| !cell.ends_with(address)) {
            let space = if cell.is_empty() { "" } else { " " };
            self.push(&format!("{space}({address})"));
        }
    }

    /// The table, with a rule below its first row.
    pub(super) fn text(&self) -> String {
        let n_columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let of_column = |at: usize| self.rows.iter().filter_map(move |row| Some(width(row.get(at)?)));
        let widths: Vec<usize> = (0..n_columns)
            .map(|at| of_column(at).max().unwrap_or_default().min(MAX_WIDTH))
            .collect();
        let mut lines: Vec<String> = self.rows.iter().map(|row| line(row, &widths)).collect();
        let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
        if !lines.is_empty() {
            lines.insert(1, rule.join("-+-"));
        }
        lines.join("\n")
    }
}

fn line(row: &[String], widths: &[usize]) -> String {
    let cells = row.iter().zip(widths);
    let cells: Vec<String> = cells
        .map(|(cell, column)| format!("{cell}{}", " ".repeat(column.saturating_sub(width(cell)))))
        .collect();
    cells.join(" | ").trim_end().to_owned()
}

/// Width in columns of a fixed-width font: CJK characters and emoji take two.
fn width(text: &str) -> usize {
    text.chars().map(|c| if c >= '\u{2e80}' { 2 } else { 1 }).sum()
}
