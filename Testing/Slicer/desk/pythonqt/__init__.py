"""PySide6 wearing PythonQt's conventions, so that one source of a module runs in Slicer and at the desk.

What PythonQt does and PySide6 does not:

- A property is an attribute and hides its getter: `button.text`, `button.enabled = False` (properties.py).
- A QStringList is a tuple (properties.py); enums are ints (binding.py).
- Assigning an attribute that a C++ object does not have is refused (properties.py).
- `button.connect("clicked(bool)", slot)` connects by signature and hands the slot as many arguments as it takes (signals.py).
- An exception in a slot does not end the program (slot_errors.py).
- All of Qt lies in one module, `qt` (namespace.py); `exec_` is the only name of modal execution (dialogs.py).

Where PythonQt would only print (a wrong signature, an exception in a slot), the desk raises or records, for a test to fail.
"""
