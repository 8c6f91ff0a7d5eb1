//! Tables for people.

use unicode_width::UnicodeWidthStr as _;

/// Rows below their titles, each column as wide as its widest cell.
#[must_use]
pub fn draw(titles: &[&str], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = (0..titles.len()).map(|column| width(titles, rows, column)).collect();
    let titles = titles.iter().map(|title| (*title).to_owned()).collect();
    let lines: Vec<String> = std::iter::once(&titles)
        .chain(rows)
        .map(|row| align(row, &widths))
        .collect();
    lines.join("\n")
}

fn width(titles: &[&str], rows: &[Vec<String>], column: usize) -> usize {
    let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width());
    cells.chain([titles[column].width()]).max().unwrap_or(0)
}

fn align(row: &[String], widths: &[usize]) -> String {
    let cells = row.iter().zip(widths);
    let padded = cells.map(|(cell, width)| format!("{cell}{}", " ".repeat(width.saturating_sub(cell.width()))));
    padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_with_wide_characters() {
        let rows = [
            vec!["客服".to_owned(), "on".to_owned()],
            vec!["a".to_owned(), String::new()],
        ];
        assert_eq!(draw(&["NAME", "STATE"], &rows), "NAME  STATE\n客服  on\na");
    }
}
