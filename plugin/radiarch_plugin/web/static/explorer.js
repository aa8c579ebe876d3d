// Radiarch in Orthanc Explorer: on a study "Open in OHIF" and its plans, on an RTSTRUCT "Plan…" and its plans' states, on
// a dose or a plan of ours "Open in OHIF", which shows that one.
(function () {
  'use strict';

  // Orthanc's own page says nothing about frames: where clicks could be stolen there is nothing to click
  if (window.top && window.top !== window.self) {
    try {
      if (window.top.location.origin !== window.location.origin) throw new Error();
    } catch (e) {
      document.documentElement.style.display = 'none';
    }
  }

  var ELEMENTS = '../radiarch/elements/index.js';
  var UID = /^[0-9.]{1,64}$/;
  var generation = 0;

  function element(name, attributes, text) {
    var made = document.createElement(name);
    Object.keys(attributes).forEach(function (key) {
      made.setAttribute(key, attributes[key]);
    });
    if (text) made.textContent = text; // never as markup: it may come from DICOM
    return made;
  }

  function button(text, href, icon) {
    // rel and data-ajax: else jQuery mobile would load the page into this one
    return $(element('a', { href: href, rel: 'external', 'data-ajax': 'false' }, text)).buttonMarkup({ icon: icon, theme: 'b' });
  }

  function ask(path, then) {
    $.ajax({
      url: '../' + path,
      dataType: 'json',
      cache: false,
      success: then,
    });
  }

  // what stood there for another resource goes at once; the elements are loaded when they are first needed
  function place(level) {
    $('#radiarch-' + level).remove();
    return $(
      element('div', {
        id: 'radiarch-' + level,
        style: 'margin: 14px 0; clear: both',
      }),
    ).insertAfter($('#' + level + '-info'));
  }

  function runs(block, attributes) {
    attributes.compact = '';
    attributes.theme = 'light';
    attributes.style = 'background: #fff; padding: 10px; border-radius: 8px; text-shadow: none; font-weight: normal';
    import(ELEMENTS).then(function () {
      block.append(element('radiarch-runs', attributes));
    });
  }

  function structureSet(block, uid, mine) {
    if (mine !== generation || !UID.test(uid)) return;
    block.append(button('Plan…', '../radiarch/ui/#/new/' + uid, 'plus'));
    runs(block, { 'rtstruct-uid': uid });
  }

  function result(block, instance, series, mine) {
    var tags = series.MainDicomTags;
    // other systems' plans have no dose by which the viewer could show them
    if (tags.Modality !== 'RTDOSE' && !(tags.Modality === 'RTPLAN' && tags.Manufacturer === 'Radiarch')) return;
    ask('studies/' + series.ParentStudy, function (study) {
      var uid = String(instance.MainDicomTags.SOPInstanceUID);
      var studyUid = String(study.MainDicomTags.StudyInstanceUID);
      if (mine !== generation || !UID.test(uid) || !UID.test(studyUid)) return;
      block.append(button('Open in OHIF', '../ohif/viewer?StudyInstanceUIDs=' + studyUid + '&object=' + uid, 'search'));
    });
  }

  function describe(block, instance, series, mine) {
    if (series.MainDicomTags.Modality === 'RTSTRUCT') structureSet(block, String(instance.MainDicomTags.SOPInstanceUID), mine);
    else result(block, instance, series, mine);
  }

  var show = {
    study: function (id, mine) {
      var block = place('study');
      ask('studies/' + id, function (study) {
        var uid = String(study.MainDicomTags.StudyInstanceUID);
        if (mine !== generation || !UID.test(uid)) return;
        block.append(button('Open in OHIF', '../ohif/viewer?StudyInstanceUIDs=' + uid, 'search'));
        block.append(button('Plans', '../radiarch/ui/#/studies/' + uid, 'grid'));
        runs(block, { 'study-uid': uid });
      });
    },
    series: function (id, mine) {
      var block = place('series');
      ask('series/' + id, function (series) {
        if (mine !== generation || series.Instances.length !== 1) return;
        ask('instances/' + series.Instances[0], function (instance) {
          describe(block, instance, series, mine);
        });
      });
    },
    instance: function (id, mine) {
      var block = place('instance');
      ask('instances/' + id, function (instance) {
        ask('series/' + instance.ParentSeries, function (series) {
          describe(block, instance, series, mine);
        });
      });
    },
  };

  Object.keys(show).forEach(function (level) {
    $('#' + level).live('pagebeforeshow', function () {
      var data = $.mobile.pageData;
      generation += 1;
      if (data && /^[0-9a-f-]{1,64}$/.test(data.uuid)) show[level](data.uuid, generation);
    });
  });
})();
