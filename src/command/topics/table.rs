//! Text in columns.

/// Rows below a head, each column as wide as its longest text; the last one is not filled up.
pub(super) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = head.map(width);
    for row in rows {
        for (column, text) in widths.iter_mut().zip(row) {
            *column = (*column).max(width(text));
        }
    }
    let mut text = line(&head.map(str::to_owned), &widths);
    text.extend(rows.iter().map(|row| line(row, &widths)));
    text
}

fn width(text: &str) -> usize {
    text.chars().count()
}

fn line<const N: usize>(row: &[String; N], widths: &[usize; N]) -> String {
    let cells = row.iter().zip(widths).map(|(text, &width)| format!("{text:<width$}"));
    let line = cells.collect::<Vec<_>>().join("  ");
    format!("{}\n", line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_one_another() {
        let rows = [["é".to_owned(), "1".to_owned()], ["longer".to_owned(), String::new()]];
        assert_eq!(table(["A", "B"], &rows), "A       B\né       1\nlonger\n");
    }
}
