-- Orthanc's index has a database of its own; the plugin's is made by the image.
CREATE DATABASE orthanc;
