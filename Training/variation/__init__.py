"""Few real scans made to stand for many patients and scanners."""
