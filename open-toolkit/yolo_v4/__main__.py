"""``python -m yolo_v4``."""

from yolo_v4.cli import run

if __name__ == "__main__":
    run()
