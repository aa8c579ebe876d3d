BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0002');
CREATE TABLE arrival_contents (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	arrival_seq INTEGER NOT NULL, 
	sha256 TEXT, 
	orthanc_id TEXT NOT NULL, 
	seen_at DATETIME NOT NULL, 
	plan_id TEXT, 
	error_code TEXT, 
	FOREIGN KEY(arrival_seq) REFERENCES arrivals (seq) ON DELETE CASCADE
);
INSERT INTO "arrival_contents" VALUES(1,1,'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','0-0','2026-01-02 03:04:45.000000','c574b8ad45a3445bbe23322bc0526608',NULL);
INSERT INTO "arrival_contents" VALUES(2,2,'cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc','0-0','2026-01-02 03:05:05.000000',NULL,'no_protocol');
INSERT INTO "arrival_contents" VALUES(3,3,'dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd','0-0','2026-01-02 03:05:15.000000','1f660b5f00ec44c38fc822fd9ae6662e',NULL);
INSERT INTO "arrival_contents" VALUES(4,3,'eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee','0-0','2026-01-02 03:05:55.000000','5a4270cfbaa044c3a47e317743078ae6',NULL);
INSERT INTO "arrival_contents" VALUES(5,3,'ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','0-0','2026-01-02 03:06:35.000000','cb8c8c0928594f29a1086ee6c3040f7b',NULL);
CREATE TABLE arrivals (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	sop_instance_uid TEXT NOT NULL, 
	orthanc_id TEXT NOT NULL, 
	series_instance_uid TEXT NOT NULL, 
	study_instance_uid TEXT NOT NULL, 
	patient_id TEXT NOT NULL, 
	sha256 TEXT, 
	calling_ae TEXT, 
	structures TEXT NOT NULL, 
	state TEXT NOT NULL, 
	error TEXT, 
	protocol_id TEXT, 
	plan_id TEXT, 
	referenced_count INTEGER NOT NULL, 
	missing_count INTEGER NOT NULL, 
	contents INTEGER NOT NULL, 
	first_seen_at DATETIME NOT NULL, 
	updated_at DATETIME NOT NULL, kind TEXT DEFAULT 'rtstruct' NOT NULL, waits_for TEXT, waits_until DATETIME, 
	UNIQUE (sop_instance_uid)
);
INSERT INTO "arrivals" VALUES(1,'1.2.840.1.2','0-0','','1.2.3','P1','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb',NULL,'["PTV"]','waiting',NULL,'p','c574b8ad45a3445bbe23322bc0526608',3,2,1,'2026-01-02 03:04:45.000000','2026-01-02 03:04:55.000000','rtstruct',NULL,NULL);
INSERT INTO "arrivals" VALUES(2,'1.2.840.1.3','0-0','','1.2.3','P1','cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc',NULL,'["PTV"]','not_planned','{"code":"no_protocol","message":"it is no_protocol","remedy":"mend it","details":{}}',NULL,NULL,3,0,1,'2026-01-02 03:05:05.000000','2026-01-02 03:05:05.000000','rtstruct',NULL,NULL);
INSERT INTO "arrivals" VALUES(3,'1.2.840.1.4','0-0','','1.2.3','P1','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff',NULL,'["PTV"]','waiting',NULL,'p','cb8c8c0928594f29a1086ee6c3040f7b',3,3,3,'2026-01-02 03:05:15.000000','2026-01-02 03:06:35.000000','rtstruct',NULL,NULL);
CREATE TABLE events (
	cursor INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	plan_seq INTEGER NOT NULL, 
	at DATETIME NOT NULL, 
	kind TEXT NOT NULL, 
	data TEXT NOT NULL, 
	FOREIGN KEY(plan_seq) REFERENCES plans (seq) ON DELETE CASCADE
);
INSERT INTO "events" VALUES(1,1,'2026-01-02 03:04:15.000000','state','{"state":"queued"}');
INSERT INTO "events" VALUES(2,1,'2026-01-02 03:04:25.000000','attempt','{"attempt":1}');
INSERT INTO "events" VALUES(3,1,'2026-01-02 03:04:35.000000','state','{"state":"succeeded"}');
INSERT INTO "events" VALUES(4,2,'2026-01-02 03:04:45.000000','state','{"state":"waiting"}');
INSERT INTO "events" VALUES(5,2,'2026-01-02 03:04:55.000000','missing','{"missing":2}');
INSERT INTO "events" VALUES(6,3,'2026-01-02 03:05:15.000000','state','{"state":"waiting"}');
INSERT INTO "events" VALUES(7,3,'2026-01-02 03:05:25.000000','state','{"state":"queued"}');
INSERT INTO "events" VALUES(8,3,'2026-01-02 03:05:35.000000','attempt','{"attempt":1}');
INSERT INTO "events" VALUES(9,3,'2026-01-02 03:05:45.000000','state','{"state":"failed","error":{"code":"engine_failed","message":"it is engine_failed","remedy":"mend it","details":{}}}');
INSERT INTO "events" VALUES(10,4,'2026-01-02 03:05:55.000000','state','{"state":"waiting"}');
INSERT INTO "events" VALUES(11,3,'2026-01-02 03:05:55.000000','superseded','{"by":"5a4270cfbaa044c3a47e317743078ae6"}');
INSERT INTO "events" VALUES(12,4,'2026-01-02 03:06:05.000000','state','{"state":"queued"}');
INSERT INTO "events" VALUES(13,4,'2026-01-02 03:06:15.000000','attempt','{"attempt":1}');
INSERT INTO "events" VALUES(14,4,'2026-01-02 03:06:25.000000','state','{"state":"succeeded"}');
INSERT INTO "events" VALUES(15,5,'2026-01-02 03:06:35.000000','state','{"state":"waiting"}');
INSERT INTO "events" VALUES(16,4,'2026-01-02 03:06:35.000000','superseded','{"by":"cb8c8c0928594f29a1086ee6c3040f7b"}');
INSERT INTO "events" VALUES(17,6,'2026-01-02 03:06:45.000000','state','{"state":"queued"}');
INSERT INTO "events" VALUES(18,6,'2026-01-02 03:06:55.000000','attempt','{"attempt":1}');
INSERT INTO "events" VALUES(19,7,'2026-01-02 03:07:05.000000','state','{"state":"queued"}');
INSERT INTO "events" VALUES(20,7,'2026-01-02 03:07:15.000000','attempt','{"attempt":1}');
INSERT INTO "events" VALUES(21,7,'2026-01-02 03:07:25.000000','state','{"state":"running"}');
INSERT INTO "events" VALUES(22,7,'2026-01-02 03:07:25.000000','stage','{"stage":"optimizing","progress":0.5,"attempt":1}');
INSERT INTO "events" VALUES(23,8,'2026-01-02 03:07:35.000000','state','{"state":"queued"}');
INSERT INTO "events" VALUES(24,8,'2026-01-02 03:07:45.000000','attempt','{"attempt":1}');
CREATE TABLE log_chunks (
	plan_seq INTEGER NOT NULL, 
	first_line INTEGER NOT NULL, 
	line_count INTEGER NOT NULL, 
	attempt INTEGER NOT NULL, 
	text TEXT NOT NULL, 
	PRIMARY KEY (plan_seq, first_line), 
	FOREIGN KEY(plan_seq) REFERENCES plans (seq) ON DELETE CASCADE
);
INSERT INTO "log_chunks" VALUES(1,0,2,1,'one
two');
CREATE TABLE meta (
	"key" TEXT NOT NULL, 
	value TEXT NOT NULL, 
	PRIMARY KEY ("key")
);
CREATE TABLE outputs (
	sop_instance_uid TEXT NOT NULL, 
	plan_seq INTEGER NOT NULL, 
	kind TEXT NOT NULL, 
	series_instance_uid TEXT NOT NULL, 
	sop_class_uid TEXT, 
	orthanc_id TEXT, 
	PRIMARY KEY (sop_instance_uid), 
	FOREIGN KEY(plan_seq) REFERENCES plans (seq) ON DELETE CASCADE
);
INSERT INTO "outputs" VALUES('2.25.326689885123711976792360492762742501466',1,'rtplan','2.25.117875701910137155650545667458471779513','1.2.840.10008.5.1.4.1.1.481.8','rtplan-id');
INSERT INTO "outputs" VALUES('2.25.303590268660730574625818862241841994754',1,'rtdose','2.25.214094696721696229470053888734940956013','1.2.840.10008.5.1.4.1.1.481.2','rtdose-id');
INSERT INTO "outputs" VALUES('2.25.168133477773338914901137431851072800473',1,'report','2.25.290796971628077228986639367212353554978','1.2.840.10008.5.1.4.1.1.104.1',NULL);
INSERT INTO "outputs" VALUES('2.25.9192160096532601491309008589696625556',1,'let','2.25.249741404318845983904115915079208884108','1.2.840.10008.5.1.4.1.1.30',NULL);
INSERT INTO "outputs" VALUES('2.25.240720041572568287563576669669003939415',2,'rtplan','2.25.224616264311273958725220128492300870106','1.2.840.10008.5.1.4.1.1.481.8',NULL);
INSERT INTO "outputs" VALUES('2.25.68872016941377766349447604915496322670',2,'rtdose','2.25.270859041779002458533815322926772306597','1.2.840.10008.5.1.4.1.1.481.2',NULL);
INSERT INTO "outputs" VALUES('2.25.44561121993326877875453223613539178240',2,'report','2.25.54356156171404416789702240263179788937','1.2.840.10008.5.1.4.1.1.104.1',NULL);
INSERT INTO "outputs" VALUES('2.25.322521103178644456672978273339816404842',2,'let','2.25.140215918185327415091538388667680407152','1.2.840.10008.5.1.4.1.1.30',NULL);
INSERT INTO "outputs" VALUES('2.25.286021644977940409377464666134559386403',3,'rtplan','2.25.130954799092152479601003887934329627464','1.2.840.10008.5.1.4.1.1.481.8',NULL);
INSERT INTO "outputs" VALUES('2.25.163895292998899166668359741959343703659',3,'rtdose','2.25.324876493232824517809630419516749839238','1.2.840.10008.5.1.4.1.1.481.2',NULL);
INSERT INTO "outputs" VALUES('2.25.48338785765539245430659747296233226698',3,'report','2.25.76533780677872160583457922202706620559','1.2.840.10008.5.1.4.1.1.104.1',NULL);
INSERT INTO "outputs" VALUES('2.25.264103932412139979486262262780004195367',3,'let','2.25.99801995921671907800634116081936458728','1.2.840.10008.5.1.4.1.1.30',NULL);
INSERT INTO "outputs" VALUES('2.25.102492288043262655882500926355398992139',4,'rtplan','2.25.157084800377169767001239226771132241511','1.2.840.10008.5.1.4.1.1.481.8','rtplan-id');
INSERT INTO "outputs" VALUES('2.25.131488792900290326678996957591870781492',4,'rtdose','2.25.82388600865789148927410599218839828737','1.2.840.10008.5.1.4.1.1.481.2','rtdose-id');
INSERT INTO "outputs" VALUES('2.25.241170948165226233992632377962579813405',4,'report','2.25.162356955293371248795276720983805386248','1.2.840.10008.5.1.4.1.1.104.1',NULL);
INSERT INTO "outputs" VALUES('2.25.101747565279580213327762571776015904551',4,'let','2.25.230807755021326884879064566437044399837','1.2.840.10008.5.1.4.1.1.30',NULL);
INSERT INTO "outputs" VALUES('2.25.215085086756540581347435457906371568692',5,'rtplan','2.25.196842062932883699130395710983190736207','1.2.840.10008.5.1.4.1.1.481.8',NULL);
INSERT INTO "outputs" VALUES('2.25.57997710233417578110108567946254138892',5,'rtdose','2.25.324778923063693123992238836411150877871','1.2.840.10008.5.1.4.1.1.481.2',NULL);
INSERT INTO "outputs" VALUES('2.25.138011601540075863416539533385039148118',5,'report','2.25.275392604043470489925995913772750397253','1.2.840.10008.5.1.4.1.1.104.1',NULL);
INSERT INTO "outputs" VALUES('2.25.251038989443451601247180988944176497759',5,'let','2.25.287754275488287546298186810071651967628','1.2.840.10008.5.1.4.1.1.30',NULL);
INSERT INTO "outputs" VALUES('2.25.96266121705602214418678370065158645223',6,'rtplan','2.25.159230735954521277031353042044278202237','1.2.840.10008.5.1.4.1.1.481.8',NULL);
INSERT INTO "outputs" VALUES('2.25.163689760848187478633718252159573382237',6,'rtdose','2.25.245457682472328626337923908257120684933','1.2.840.10008.5.1.4.1.1.481.2',NULL);
INSERT INTO "outputs" VALUES('2.25.153350903837088578146310303170942444075',6,'report','2.25.201423172367021980080037036046288124549','1.2.840.10008.5.1.4.1.1.104.1',NULL);
INSERT INTO "outputs" VALUES('2.25.121746933268657092048484562875219381627',6,'let','2.25.298988631004793619616071007160846019561','1.2.840.10008.5.1.4.1.1.30',NULL);
INSERT INTO "outputs" VALUES('2.25.115991204914023030403445313302002600639',7,'rtplan','2.25.120233076289875767227090966445544951973','1.2.840.10008.5.1.4.1.1.481.8',NULL);
INSERT INTO "outputs" VALUES('2.25.262571599281063624504722244995098119205',7,'rtdose','2.25.150221594433946456318905044222935679676','1.2.840.10008.5.1.4.1.1.481.2',NULL);
INSERT INTO "outputs" VALUES('2.25.282563643140574281654896705665701322116',7,'report','2.25.238239166616224404175462749305921796843','1.2.840.10008.5.1.4.1.1.104.1',NULL);
INSERT INTO "outputs" VALUES('2.25.331174783752401943103054889905329850736',7,'let','2.25.200435794920103617376529025895646671375','1.2.840.10008.5.1.4.1.1.30',NULL);
INSERT INTO "outputs" VALUES('2.25.190382726800174829877015580121831775934',8,'rtdose','2.25.167706541839845509475189171517011400517','1.2.840.10008.5.1.4.1.1.481.2',NULL);
INSERT INTO "outputs" VALUES('2.25.312424818385369446290228324025331166587',8,'dose_difference','2.25.197219862517328114452111534236273426456','1.2.840.10008.5.1.4.1.1.481.2',NULL);
INSERT INTO "outputs" VALUES('2.25.140827146245723464719591556818886517578',8,'report','2.25.326158103755908488746199349678516027646','1.2.840.10008.5.1.4.1.1.104.1',NULL);
INSERT INTO "outputs" VALUES('2.25.167721263231302440551470191147808590384',8,'let','2.25.206613954493939628813948479592741361951','1.2.840.10008.5.1.4.1.1.30',NULL);
CREATE TABLE plan_documents (
	plan_seq INTEGER NOT NULL, 
	request TEXT NOT NULL, 
	prescription TEXT NOT NULL, 
	parameters TEXT NOT NULL, 
	structures TEXT NOT NULL, 
	missing_structures TEXT NOT NULL, 
	goals TEXT NOT NULL, 
	error TEXT, 
	solver TEXT, 
	result TEXT, 
	curves TEXT, inputs TEXT, approvals TEXT, 
	PRIMARY KEY (plan_seq), 
	FOREIGN KEY(plan_seq) REFERENCES plans (seq) ON DELETE CASCADE
);
INSERT INTO "plan_documents" VALUES(1,'{"workflow_id":"proton-impt-optimized","parameters":{"adapt":true}}','{"target":"PTV","dose_gy":60.0,"fractions":30}','{"derived":{},"beam_count":null,"beams":[],"spot_spacing_mm":5.0,"layer_spacing_mm":5.0,"target_margin_mm":5.0,"scoring_spacing_mm":3.0,"beamlet_primaries":1000,"final_primaries":null,"uncertainty_percent":2.0,"max_iterations":150,"method":"L-BFGS-B","spot_mu_min":null,"normalisation":"D95% = 100%","seed":1,"machine":"BDL_default_UN_RangeShifter","ct_calibration":"UCL_Toshiba","let":false,"isocenter_mm":null,"overrides":[],"objectives":[{"structure":"PTV","metric":"DMin","dose_gy":60.0,"volume_percent":null,"weight":10.0,"robust":false,"over_scenarios":"worst-case"},{"structure":"Rectum","metric":"DMean","dose_gy":20.0,"volume_percent":null,"weight":1.0,"robust":false,"over_scenarios":"worst-case"}],"adapt":true}','[{"name":"PTV","roi_number":2,"roi_name":"PTV high"}]','[]','["PTV: D95% >= 95%"]',NULL,NULL,'{"beams":[],"metrics":[{"structure":"PTV","roi_number":2,"volume_cc":1.0,"d_mean_gy":60.0,"d_min_gy":50.0,"d_max_gy":63.0,"d98_gy":57.0,"d95_gy":58.0,"d50_gy":60.0,"d2_gy":62.0}],"goals":[{"text":"PTV: D95% >= 95%","structure":"PTV","value":97.0,"unit":"%","status":"met","note":null,"priority":null}],"uncertainty_percent":1.5,"dose":null,"comparison":null,"robustness":null,"notes":["a note"],"provenance":{"engine":"MCsquare","rbe":1.1},"timings_s":{"total":2.0}}','{"dvh":[{"structure":"PTV","roi_number":2,"volume_cc":1.0,"dose_gy":[0.0,1.0],"volume_percent":[100.0,0.0]}],"solver_trace":[{"iteration":1,"objective":2.0}],"reference_dvh":[],"bands":[]}',NULL,NULL);
INSERT INTO "plan_documents" VALUES(2,'{"n":1}','{"target":"PTV","dose_gy":60.0,"fractions":30}','{"seed":7}','[{"name":"PTV","roi_number":2,"roi_name":"PTV high"}]','[]','["PTV: D95% >= 95%"]',NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "plan_documents" VALUES(3,'{"n":1}','{"target":"PTV","dose_gy":60.0,"fractions":30}','{"seed":7}','[{"name":"PTV","roi_number":2,"roi_name":"PTV high"}]','[]','["PTV: D95% >= 95%"]','{"code":"engine_failed","message":"it is engine_failed","remedy":"mend it","details":{}}',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "plan_documents" VALUES(4,'{"n":1}','{"target":"PTV","dose_gy":60.0,"fractions":30}','{"seed":7}','[{"name":"PTV","roi_number":2,"roi_name":"PTV high"}]','[]','["PTV: D95% >= 95%"]',NULL,NULL,'{"beams":[],"metrics":[],"goals":[],"uncertainty_percent":1.5,"dose":null,"comparison":null,"robustness":null,"notes":["a note"],"provenance":{},"timings_s":{"total":2.0}}','{"dvh":[{"structure":"PTV","roi_number":2,"volume_cc":1.0,"dose_gy":[0.0,1.0],"volume_percent":[100.0,0.0]}],"solver_trace":[],"reference_dvh":[],"bands":[]}',NULL,NULL);
INSERT INTO "plan_documents" VALUES(5,'{"n":1}','{"target":"PTV","dose_gy":60.0,"fractions":30}','{"seed":7}','[{"name":"PTV","roi_number":2,"roi_name":"PTV high"}]','[]','["PTV: D95% >= 95%"]',NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "plan_documents" VALUES(6,'{"n":1}','{"target":"PTV","dose_gy":60.0,"fractions":30}','{"seed":7}','[{"name":"PTV","roi_number":2,"roi_name":"PTV high"}]','[]','["PTV: D95% >= 95%"]',NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "plan_documents" VALUES(7,'{"n":1}','{"target":"PTV","dose_gy":60.0,"fractions":30}','{"seed":7}','[{"name":"PTV","roi_number":2,"roi_name":"PTV high"}]','[]','["PTV: D95% >= 95%"]',NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "plan_documents" VALUES(8,'{"n":1}','null','{"derived":{},"uncertainty_percent":1.5,"final_primaries":null,"meterset_scale":null,"spot_size":"plan","scoring_spacing_mm":3.0,"seed":1,"machine":"BDL_default_UN_RangeShifter","ct_calibration":"UCL_Toshiba","let":false,"overrides":[],"gamma":{"dose_percent":3.0,"distance_mm":3.0,"normalisation":"global","cutoff_percent":10.0}}','[{"name":"PTV","roi_number":2,"roi_name":"PTV high"}]','[]','["PTV: D95% >= 95%"]',NULL,NULL,NULL,NULL,'[{"kind":"rtplan","sop_instance_uid":"1.2.840.1.9","sha256":"9999999999999999999999999999999999999999999999999999999999999999"}]',NULL);
CREATE TABLE plans (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	id TEXT NOT NULL, 
	state TEXT NOT NULL, 
	stage TEXT, 
	progress DOUBLE NOT NULL, 
	eta_s DOUBLE, 
	message TEXT NOT NULL, 
	origin TEXT NOT NULL, 
	requested_by TEXT, 
	workflow_id TEXT NOT NULL, 
	protocol_id TEXT, 
	protocol_sha256 TEXT, 
	patient_id TEXT NOT NULL, 
	study_instance_uid TEXT NOT NULL, 
	rtstruct_sop_instance_uid TEXT NOT NULL, 
	rtstruct_sha256 TEXT NOT NULL, 
	plan_label TEXT NOT NULL, 
	parent_id TEXT, 
	supersedes TEXT, 
	superseded_by TEXT, 
	superseded_at DATETIME, 
	idempotency_key TEXT, 
	request_sha256 TEXT, 
	attempt INTEGER NOT NULL, 
	failures INTEGER NOT NULL, 
	enqueued BOOLEAN NOT NULL, 
	not_before DATETIME, 
	time_limit_s DOUBLE NOT NULL, 
	missing_count INTEGER NOT NULL, 
	worker TEXT, 
	error_code TEXT, 
	search TEXT NOT NULL, 
	log_lines INTEGER NOT NULL, 
	log_run TEXT NOT NULL, 
	log_taken INTEGER NOT NULL, 
	created_at DATETIME NOT NULL, 
	updated_at DATETIME NOT NULL, 
	queued_at DATETIME, 
	started_at DATETIME, 
	ended_at DATETIME, 
	stopped_at DATETIME, 
	cleanup_until DATETIME, frame_of_reference_uid TEXT, 
	UNIQUE (id), 
	UNIQUE (idempotency_key)
);
INSERT INTO "plans" VALUES(1,'93750dd39d344140a43811c3384254dc','succeeded',NULL,1.0,NULL,'','request',NULL,'proton-impt-optimized',NULL,NULL,'P1','1.2.3','1.2.840.1.1','aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','DONE',NULL,NULL,NULL,NULL,NULL,'5963674d863ff8f69f0a705fbdfd1ab42bb7e8475dba58d6ce2905c0f37791d9',1,0,0,NULL,14400.0,0,'w',NULL,'93750dd39d344140a43811c3384254dc p1  proton-impt-optimized done 1.2.840.1.1 1.2.3',2,'',2,'2026-01-02 03:04:15.000000','2026-01-02 03:04:35.000000','2026-01-02 03:04:15.000000','2026-01-02 03:04:15.000000','2026-01-02 03:04:35.000000',NULL,NULL,NULL);
INSERT INTO "plans" VALUES(2,'c574b8ad45a3445bbe23322bc0526608','waiting',NULL,0.0,NULL,'','arrival',NULL,'proton-impt-basic','p',NULL,'P1','1.2.3','1.2.840.1.2','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','RADIARCH',NULL,NULL,NULL,NULL,NULL,NULL,0,0,0,NULL,14400.0,2,NULL,NULL,'c574b8ad45a3445bbe23322bc0526608 p1 p proton-impt-basic radiarch 1.2.840.1.2 1.2.3',0,'',0,'2026-01-02 03:04:45.000000','2026-01-02 03:04:55.000000',NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "plans" VALUES(3,'1f660b5f00ec44c38fc822fd9ae6662e','failed',NULL,0.0,NULL,'','arrival',NULL,'proton-impt-basic','p',NULL,'P1','1.2.3','1.2.840.1.4','dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd','RADIARCH',NULL,NULL,'5a4270cfbaa044c3a47e317743078ae6','2026-01-02 03:05:55.000000',NULL,NULL,1,1,0,NULL,14400.0,0,NULL,'engine_failed','1f660b5f00ec44c38fc822fd9ae6662e p1 p proton-impt-basic radiarch 1.2.840.1.4 1.2.3',0,'',0,'2026-01-02 03:05:15.000000','2026-01-02 03:05:55.000000','2026-01-02 03:05:25.000000',NULL,'2026-01-02 03:05:45.000000',NULL,'2026-01-02 03:07:45.000000',NULL);
INSERT INTO "plans" VALUES(4,'5a4270cfbaa044c3a47e317743078ae6','succeeded',NULL,1.0,NULL,'','arrival',NULL,'proton-impt-basic','p',NULL,'P1','1.2.3','1.2.840.1.4','eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee','RADIARCH',NULL,'1f660b5f00ec44c38fc822fd9ae6662e','cb8c8c0928594f29a1086ee6c3040f7b','2026-01-02 03:06:35.000000',NULL,NULL,1,0,0,NULL,14400.0,0,'w',NULL,'5a4270cfbaa044c3a47e317743078ae6 p1 p proton-impt-basic radiarch 1.2.840.1.4 1.2.3',0,'',0,'2026-01-02 03:05:55.000000','2026-01-02 03:06:35.000000','2026-01-02 03:06:05.000000','2026-01-02 03:06:05.000000','2026-01-02 03:06:25.000000',NULL,NULL,NULL);
INSERT INTO "plans" VALUES(5,'cb8c8c0928594f29a1086ee6c3040f7b','waiting',NULL,0.0,NULL,'','arrival',NULL,'proton-impt-basic','p',NULL,'P1','1.2.3','1.2.840.1.4','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','RADIARCH',NULL,'5a4270cfbaa044c3a47e317743078ae6',NULL,NULL,NULL,NULL,0,0,0,NULL,14400.0,3,NULL,NULL,'cb8c8c0928594f29a1086ee6c3040f7b p1 p proton-impt-basic radiarch 1.2.840.1.4 1.2.3',0,'',0,'2026-01-02 03:06:35.000000','2026-01-02 03:06:35.000000',NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "plans" VALUES(6,'0305f096df584282a1e299173d19f526','queued',NULL,0.0,NULL,'','request',NULL,'proton-impt-basic',NULL,NULL,'P1','1.2.3','1.2.840.1.5','aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','QUEUED',NULL,NULL,NULL,NULL,NULL,'2e979028bfd91997ccb8e237112ff2de2785112bd4f53bd50e336152b22d6bf3',1,0,1,NULL,14400.0,0,NULL,NULL,'0305f096df584282a1e299173d19f526 p1  proton-impt-basic queued 1.2.840.1.5 1.2.3',0,'',0,'2026-01-02 03:06:45.000000','2026-01-02 03:06:55.000000','2026-01-02 03:06:45.000000',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "plans" VALUES(7,'a116a965e678423291a508a3d09f1c3f','running','optimizing',0.5,9.0,'m','request',NULL,'proton-impt-basic',NULL,NULL,'P1','1.2.3','1.2.840.1.6','aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','RUNNING',NULL,NULL,NULL,NULL,NULL,'cf9f7304477d61b17ecdab4e47cd4649ff89c3cdfc3650d4d08715ccffef005c',1,0,1,NULL,14400.0,0,'w',NULL,'a116a965e678423291a508a3d09f1c3f p1  proton-impt-basic running 1.2.840.1.6 1.2.3',0,'',0,'2026-01-02 03:07:05.000000','2026-01-02 03:07:25.000000','2026-01-02 03:07:05.000000','2026-01-02 03:07:25.000000',NULL,NULL,NULL,NULL);
INSERT INTO "plans" VALUES(8,'39f1005a5be14b94b2ef6f44f585829f','queued',NULL,0.0,NULL,'','request',NULL,'recalculation',NULL,NULL,'P1','1.2.3','1.2.840.1.1','aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','CHECK',NULL,NULL,NULL,NULL,NULL,'93da81da97222cfe01122ec749b64f49f4888162db8e0cb04a196ea709596de1',1,0,1,NULL,14400.0,0,NULL,NULL,'39f1005a5be14b94b2ef6f44f585829f p1  recalculation check 1.2.840.1.1 1.2.3',0,'',0,'2026-01-02 03:07:35.000000','2026-01-02 03:07:45.000000','2026-01-02 03:07:35.000000',NULL,NULL,NULL,NULL,NULL);
CREATE TABLE waits (
	plan_seq INTEGER NOT NULL, 
	image_uids TEXT NOT NULL, 
	PRIMARY KEY (plan_seq), 
	FOREIGN KEY(plan_seq) REFERENCES plans (seq) ON DELETE CASCADE
);
INSERT INTO "waits" VALUES(2,'["1.1","1.2","1.3"]');
INSERT INTO "waits" VALUES(5,'["1.1","1.2","1.3"]');
CREATE INDEX ix_arrivals_patient_id ON arrivals (patient_id, seq);
CREATE INDEX ix_arrivals_plan_id ON arrivals (plan_id);
CREATE INDEX ix_arrivals_state ON arrivals (state, seq);
CREATE INDEX ix_arrivals_study_instance_uid ON arrivals (study_instance_uid, seq);
CREATE INDEX ix_plans_cleanup_until ON plans (cleanup_until);
CREATE INDEX ix_plans_created_at ON plans (created_at, seq);
CREATE INDEX ix_plans_patient_id ON plans (patient_id, seq);
CREATE INDEX ix_plans_protocol_id ON plans (protocol_id, seq);
CREATE INDEX ix_plans_rtstruct_sop_instance_uid ON plans (rtstruct_sop_instance_uid, seq);
CREATE INDEX ix_plans_search ON plans (search);
CREATE INDEX ix_plans_state ON plans (state, seq);
CREATE INDEX ix_plans_study_instance_uid ON plans (study_instance_uid, seq);
CREATE INDEX ix_plans_updated_at ON plans (updated_at, seq);
CREATE INDEX ix_plans_workflow_id ON plans (workflow_id, seq);
CREATE INDEX ix_arrival_contents_arrival_seq ON arrival_contents (arrival_seq);
CREATE INDEX ix_events_plan ON events (plan_seq, cursor);
CREATE INDEX ix_outputs_plan_seq ON outputs (plan_seq);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('plans',8);
INSERT INTO "sqlite_sequence" VALUES('events',24);
INSERT INTO "sqlite_sequence" VALUES('arrivals',3);
INSERT INTO "sqlite_sequence" VALUES('arrival_contents',5);
COMMIT;
