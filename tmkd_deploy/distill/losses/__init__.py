"""The terms of the student's loss, one small file each."""
