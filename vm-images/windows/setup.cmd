@echo off
rem What is done at the first logon of a machine that the rig installs. %1 is the drive of the small disk that this file is on.
%1\rig\agent.exe step first-logon
mkdir C:\rig
call :all %1 > C:\rig\setup.log 2>&1
exit /b 0

:all
copy /y %1\rig\agent.exe C:\rig\agent.exe

rem Drivers with test certificates; no repair, no question after a crash.
bcdedit /set testsigning on
bcdedit /set {current} bootstatuspolicy ignoreallfailures
bcdedit /set {current} recoveryenabled no

rem The harness is the kernel debugger on COM1, and hears what drivers print.
bcdedit /dbgsettings serial debugport:1 baudrate:115200
bcdedit /debug on
reg add "HKLM\SYSTEM\CurrentControlSet\Control\Session Manager\Debug Print Filter" /v DEFAULT /t REG_DWORD /d 15 /f

rem Driver Verifier, from the next start on. A machine that it does not let start forgets it.
{{verifier}}

rem A kernel dump, also of a hang that a non-maskable interrupt ends, then a new start.
reg add HKLM\SYSTEM\CurrentControlSet\Control\CrashControl /v CrashDumpEnabled /t REG_DWORD /d 2 /f
reg add HKLM\SYSTEM\CurrentControlSet\Control\CrashControl /v AutoReboot /t REG_DWORD /d 1 /f
reg add HKLM\SYSTEM\CurrentControlSet\Control\CrashControl /v Overwrite /t REG_DWORD /d 1 /f
reg add HKLM\SYSTEM\CurrentControlSet\Control\CrashControl /v AlwaysKeepMemoryDump /t REG_DWORD /d 1 /f
reg add HKLM\SYSTEM\CurrentControlSet\Control\CrashControl /v NMICrashDump /t REG_DWORD /d 1 /f

rem No sleep, no fast start-up, no updates, no window that waits for somebody.
powercfg /hibernate off
powercfg /change standby-timeout-ac 0
powercfg /change monitor-timeout-ac 0
reg add "HKLM\SYSTEM\CurrentControlSet\Control\Session Manager\Power" /v HiberbootEnabled /t REG_DWORD /d 0 /f
reg add HKLM\SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate\AU /v NoAutoUpdate /t REG_DWORD /d 1 /f
sc config wuauserv start= disabled
reg add "HKLM\SOFTWARE\Microsoft\Windows\Windows Error Reporting" /v DontShowUI /t REG_DWORD /d 1 /f
reg add "HKLM\SOFTWARE\Microsoft\ServerManager" /v DoNotOpenServerManagerAtLogon /t REG_DWORD /d 1 /f
netsh advfirewall set allprofiles state off

rem Further drivers, if the rig has given the machine a disc with some.
if exist %1\rig\drivers.txt call :drivers %1

rem The agent at every start, and now.
schtasks /create /f /tn rig-agent /sc onstart /ru SYSTEM /rl highest /tr C:\rig\agent.exe
schtasks /run /tn rig-agent
exit /b 0

:drivers
set /p folder=<%1\rig\drivers.txt
for %%d in (D E F G H I J) do if exist %%d:\NetKVM\%folder%\amd64\*.inf call :from %%d:
exit /b 0

:from
for /d %%n in (%1\*) do if exist %%n\%folder%\amd64\*.inf pnputil /add-driver %%n\%folder%\amd64\*.inf /install
exit /b 0
