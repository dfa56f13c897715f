"""CT made of label maps: whole bodies, and other patients' kidneys in real scans."""
