// What the viewer's page has besides its modules: OHIF's libraries, as far as they are used, and dicom-parser.
interface Window {
  cornerstone: any;
  dicomParser: any;
  config: any;
}
declare const $: any;
