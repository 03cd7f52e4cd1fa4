"""The operator's own stages. `prepare` checks the dataset as the toolkit will read it, and converts darknet labels to KITTI;
`merge` makes labels for training of what inference found.

    python3 -m yolo_operator.dataset INSTRUCTIONS.json

The toolkit skips without a word what it does not like: a suffix in upper case, an unknown class, a label of four columns.
Here each of these is an error with its file and line. The user's files are never touched.
"""
