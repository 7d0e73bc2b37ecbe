"""What hurried people write, read as they mean it.

Each step takes the tokens of a text and gives those that are meant, with a mistake in each place
where they differ: first signs, numbers, texts and comments of other languages (`slips.py`), then
where blocks begin and end (`heads.py`, `blocks.py`), then brackets (`brackets.py`), then whole lines
(`lines.py`). What is left is mended where the parser stops (`repairs.py`).
"""
