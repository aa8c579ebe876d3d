"""The real cases through the real service; run where the folder of cases is there."""
