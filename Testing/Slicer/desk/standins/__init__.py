"""Stand-ins for the widgets of CTK and qMRML and the objects of qSlicer: real Qt widgets, on the real scene.

Each offers the properties, signals and methods that a segmentation module uses. Names come from api_names.json, and `register` refuses a
stand-in with a public name that Slicer does not have, so that a module cannot come to depend on an invention of the desk.
"""
